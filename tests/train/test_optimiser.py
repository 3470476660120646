"""How each phase sets up the optimiser: rates, their course, weight decay, gradient clipping."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from tqdm import tqdm
from train_fixtures import expert_params
from trainers import make_trainer

from train_stage.optimizer import Muon, make_optimizer, orthogonal
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


def convolution(name: str, rate: float, decay: float) -> tuple[nn.Conv2d, Muon]:
    """A convolution and its optimiser."""
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3)
    params = expert_params(optimizer=name, weight_decay=decay)
    return module, make_optimizer([(module, rate)], params)


def test_muon_moves_a_kernel_equally_far_in_every_direction() -> None:
    module, optimizer = convolution("muon", 0.01, 0.1)
    kernel = module.weight
    before = kernel.detach().clone()
    # One direction of the gradient is fifty times as long as the others.
    gradient = torch.randn_like(kernel)
    gradient[0] *= 50
    kernel.grad = gradient.clone()
    optimizer.step()
    moved = (before * (1 - 0.01 * 0.1) - kernel.detach()).flatten(1)
    lengths = torch.linalg.svdvals(moved) / (0.01 * 0.2 * 54**0.5)
    assert ((lengths > 0.6) & (lengths < 1.3)).all(), lengths
    assert (moved * gradient.flatten(1)).sum() > 0


@pytest.mark.parametrize("shape", [(8, 54), (54, 8), (16, 16)])
def test_orthogonal_keeps_the_directions_and_makes_their_lengths_one(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-6
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    lengths = left.T @ orthogonal(matrix) @ right.T
    assert (lengths.diagonal() - 1).abs().max() < 0.25
    assert (lengths - lengths.diagonal().diag()).abs().max() < 1e-4
    assert orthogonal(torch.zeros(shape)).eq(0).all()


def test_muon_goes_on_along_its_momentum() -> None:
    module, optimizer = convolution("muon", 0.01, 0)
    steps = []
    for sign in (1, 1, 1, -0.01):
        before = module.weight.detach().clone()
        module.weight.grad = sign * torch.ones_like(before)
        optimizer.step()
        steps.append((module.weight.detach() - before).mean().item())
    assert max(steps) < 0


def test_vectors_and_depthwise_kernels_move_by_adamw_and_with_it_everything() -> None:
    for name, others in {"muon": [], "adamw": ["0.weight"]}.items():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4))
        twin = copy.deepcopy(module)
        params = expert_params(optimizer=name, weight_decay=0)
        pairs = [
            (module, make_optimizer([(module, 0.01)], params)),
            (twin, torch.optim.AdamW(twin.parameters(), 0.01, weight_decay=0)),
        ]
        for network, optimizer in pairs:
            for step in range(3):
                for number, parameter in enumerate(network.parameters()):
                    parameter.grad = torch.linspace(-1, step, parameter.numel()).view_as(parameter)
                    parameter.grad += number
                optimizer.step()
        alike = [
            key
            for key, value in module.state_dict().items()
            if torch.allclose(value, twin.state_dict()[key], atol=1e-6)
        ]
        assert alike == [*others, "0.bias", "1.weight", "1.bias"]


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
        if trainer.model.head.weight.grad is None:  # Muon is done, AdamW follows
            return
        gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    trainer.optimizer.optimizer.register_step_pre_hook(note)
    trainer.train_epoch(1, tqdm(disable=True))
    assert len(norms) == 2
    for norm in norms:
        assert norm == pytest.approx(clip, rel=1e-3) if clipped else 1e-3 < norm < clip
