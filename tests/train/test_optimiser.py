"""How each phase sets up the optimiser: rates, their course, weight decay, gradient clipping."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from tqdm import tqdm
from train_fixtures import expert_params
from trainers import make_trainer

from train_stage.phases import Phase, phases
from train_stage.trainer import Trainer

WHOLE = Phase("whole", 32, 10, 0.02, 0.005)
DECODER = Phase("decoder", 32, 10, 0.03, None)


def groups(trainer: Trainer) -> Iterator[tuple[str, nn.Parameter, dict[str, Any]]]:
    """Name, parameter and its group in the optimiser."""
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            yield names[parameter], parameter, group


def test_the_decoder_phase_has_its_own_rate_and_no_encoder() -> None:
    rates = {"learning_rate": 0.02, "encoder_learning_rate": 0.005}
    plan = phases(expert_params(epochs=4, decoder_epochs=3, decoder_learning_rate=0.007, **rates))
    assert plan == [
        Phase("whole", 32, 4, 0.02, 0.005),
        Phase("decoder", 32, 3, 0.007, None),
    ]
    assert [phase.name for phase in phases(expert_params(decoder_epochs=0))] == ["whole"]


def test_encoder_and_decoder_peak_at_the_rates_of_the_phase(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.start(WHOLE)
    found = {name: group["max_lr"] for name, _, group in groups(trainer)}
    expected = {
        name: 0.005 if name.startswith("encoder.") else 0.02
        for name, _ in trainer.model.named_parameters()
    }
    assert found == expected


def test_the_decoder_phase_trains_the_decoder_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.start(WHOLE)
    trainer.start(DECODER)
    names = {name for name, _ in trainer.model.named_parameters()}
    trained = {name for name in names if not name.startswith("encoder.")}
    assert {name: group["max_lr"] for name, _, group in groups(trainer)} == dict.fromkeys(
        trained, 0.03
    )
    assert {n for n, p in trainer.model.named_parameters() if p.requires_grad} == trained


def test_kernels_alone_decay_by_the_params(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, weight_decay=0.07)
    trainer.start(WHOLE)
    decays = {name: (p.ndim, group["weight_decay"]) for name, p, group in groups(trainer)}
    assert decays["head.weight"] == (4, 0.07)
    assert decays["head.bias"] == (1, 0)
    assert set(decays.values()) == {(4, 0.07), (1, 0)}


@pytest.mark.parametrize("warmup", [0.2, 0.6])
def test_the_rate_rises_for_the_share_of_steps_of_the_params(tmp_path: Path, warmup: float) -> None:
    trainer = make_trainer(tmp_path, warmup=warmup)
    trainer.start(WHOLE)
    steps, rates = 2 * WHOLE.epochs, []
    for _ in range(steps):
        rates.append(trainer.learning_rate)
        trainer.optimizer.step()
        trainer.schedule.step()
    peak = round(warmup * steps) - 1
    assert rates[peak] == max(rates) == pytest.approx(0.02)
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[-1] < 1e-6


@pytest.mark.parametrize(("clip", "clipped"), [(1e-3, True), (1e6, False)])
def test_gradients_are_no_longer_than_the_params_allow(
    tmp_path: Path, clip: float, clipped: bool
) -> None:
    trainer = make_trainer(tmp_path, gradient_clip=clip)
    trainer.start(WHOLE)
    norms: list[float] = []

    def note(*_: object) -> None:
        gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    trainer.optimizer.optimizer.register_step_pre_hook(note)
    trainer.train_epoch(1, tqdm(disable=True))
    assert len(norms) == 2
    for norm in norms:
        assert norm == pytest.approx(clip, rel=1e-3) if clipped else 1e-3 < norm < clip
