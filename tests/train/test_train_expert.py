"""What the training of an expert writes, and what its phases change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from train_fixtures import (
    ROOT,
    TIMM,
    TREE,
    draw_pairs,
    expert_params,
    write_packed,
    write_project,
)
from train_runs import (
    EPOCHS,
    EXAMPLES,
    RESULTS,
    SCALARS,
    WEIGHTS,
    checkpoints,
    events,
    history,
    train,
)

from final_model_stage.chain.settings import make_settings
from final_model_stage.params import load_final_params
from train_stage.checkpoint import Checkpoint
from train_stage.dataset import Batch, ExpertSamples, Key
from train_stage.history import History
from train_stage.loaders import make_loaders
from train_stage.model import Expert
from train_stage.phases import phases
from train_stage.task import Task
from train_stage.trainer import Trainer


def test_writes_weights_that_the_model_takes(unbroken: Path) -> None:
    model = Expert(expert_params().model, np.eye(3, dtype=bool))
    model.load_state_dict(load_file(unbroken / WEIGHTS))


def test_writes_a_line_of_history_an_epoch(unbroken: Path) -> None:
    lines = (unbroken / RESULTS / "history.csv").read_text().splitlines()
    names = "epoch,phase,learning_rate,loss,val_loss,mIoU,iou_background,iou_body"
    assert lines[0] == names
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["1", "whole"],
        ["2", "whole"],
        ["3", "decoder"],
    ]
    for row in history(unbroken):
        mean = (row["iou_background"] + row["iou_body"]) / 2
        assert row["mIoU"] == pytest.approx(mean, abs=1e-5)


def test_metrics_are_those_of_the_last_epoch(unbroken: Path) -> None:
    metrics = json.loads((unbroken / RESULTS / "metrics.json").read_text())
    last = history(unbroken)[-1]
    assert metrics == {
        "mIoU": last["mIoU"],
        "iou": {"background": last["iou_background"], "body": last["iou_body"]},
        "loss": last["loss"],
        "val_loss": last["val_loss"],
        "epochs": 3,
        "parameters": sum(
            p.numel() for p in Expert(expert_params().model, np.eye(3, dtype=bool)).parameters()
        ),
    }


def test_tensorboard_shows_all_curves_and_examples(unbroken: Path) -> None:
    shown = events(unbroken)
    assert set(shown.Tags()["scalars"]) == SCALARS
    for row, event in zip(history(unbroken), shown.Scalars("loss/validation"), strict=True):
        assert (event.step, event.value) == (row["epoch"], pytest.approx(row["val_loss"], 1e-4))
    images = shown.Images(EXAMPLES)
    assert [image.step for image in images] == EPOCHS
    assert (images[0].width, images[0].height) == (3 * 32, 4 * 32)  # a validation batch of 4


def test_every_epoch_draws_its_own_samples(tmp_path: Path) -> None:
    epochs: list[int] = []
    get = ExpertSamples.__getitem__

    def note(samples: ExpertSamples, keys: list[Key]) -> Batch:
        epochs.extend(epoch for epoch, _ in keys if samples.augment)
        return get(samples, keys)

    with mock.patch.object(ExpertSamples, "__getitem__", note):
        train(write_project(tmp_path))
    assert epochs == 8 * [1] + 8 * [2] + 8 * [3]


def test_a_class_that_validation_lacks_has_no_figure(tmp_path: Path) -> None:
    splits = {"train": draw_pairs(9, 1), "val": [(i, i[..., 0] * 0) for i, _ in draw_pairs(4, 2)]}
    write_project(tmp_path)
    shutil.rmtree(tmp_path / "data"), shutil.rmtree(tmp_path / "results")
    write_packed(tmp_path, splits)
    with mock.patch.object(Trainer, "predict", lambda self, batch: background(len(batch.image))):
        train(tmp_path)
    text = (tmp_path / RESULTS / "metrics.json").read_text()
    assert json.loads(text)["iou"] == {"background": 1.0, "body": None}
    assert "NaN" not in text


def background(images: int) -> torch.Tensor:
    return torch.tensor([9.0, -9, -9]).view(1, 3, 1, 1).expand(images, 3, 32, 32)


def test_a_process_without_validation_samples_has_none_to_check(tmp_path: Path) -> None:
    """A region that validation has in fewer samples than there are processes."""
    write_project(tmp_path)
    with chdir(tmp_path):
        fabric = Fabric(accelerator="cpu", devices=1)
        task = Task.of_expert("person")
        loaders = replace(make_loaders(task, fabric), val=[])
        trainer = Trainer(task, loaders, fabric)
        trainer.start(phases(task.params)[0])
        _, counts = trainer.evaluate()
    assert counts.sum() == 0


def test_a_schedule_whose_first_step_ends_the_warmup(tmp_path: Path) -> None:
    write_project(tmp_path, warmup=0.25)  # of four steps
    train(tmp_path)
    assert len(history(tmp_path)) == 3


def test_a_phase_of_one_step_learns(tmp_path: Path) -> None:
    write_project(tmp_path, train=2, epochs=1, decoder_epochs=1)
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def note(optimizer: torch.optim.AdamW, *args: Any, **named: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **named)

    with mock.patch.object(torch.optim.AdamW, "step", note):
        train(tmp_path)
    assert len(rates) == 2 and min(rates) > 2e-4


def test_a_second_phase_sees_larger_inputs_at_its_own_rate(tmp_path: Path) -> None:
    larger = {"input_size": 48, "epochs": 1, "learning_rate": 0.02}
    rates = {"learning_rate": 0.01, "encoder_learning_rate": 0.004}
    write_project(tmp_path, high_resolution=larger, epochs=2, decoder_epochs=1, **rates)
    sides: list[int] = []
    get = ExpertSamples.__getitem__

    def note(samples: ExpertSamples, keys: list[Key]) -> Batch:
        batch = get(samples, keys)
        sides.extend([batch.target.shape[-1]] * len(keys) if samples.augment else [])
        return batch

    with mock.patch.object(ExpertSamples, "__getitem__", note):
        train(tmp_path)
    assert sides == 2 * 8 * [32] + 2 * 8 * [48]
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2, 3, 4]
    plan = phases(expert_params(high_resolution=larger, epochs=2, decoder_epochs=1, **rates))
    assert [(phase.learning_rate, phase.encoder_learning_rate) for phase in plan[:2]] == [
        (0.01, 0.004),
        (0.02, pytest.approx(0.008)),
    ]
    experts = dict.fromkeys(TREE.experts, expert_params(high_resolution=larger))
    settings = make_settings(TREE, 48, load_final_params(ROOT / "params.yaml"), experts)
    assert settings.experts["person"].input_size == 48


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, TIMM | {"dropout": 0.2}], ids=["unet", "timm"])
def test_the_decoder_phase_changes_the_decoder_only(tmp_path: Path, model: dict[str, Any]) -> None:
    write_project(tmp_path, model=model, epochs=1)
    states: list[dict[str, torch.Tensor]] = []
    save = Checkpoint.save

    def keep(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
        save(checkpoint, state)
        states.append((checkpoint.load() or {})["average"])

    with mock.patch.object(Checkpoint, "save", keep):
        train(tmp_path)
    whole, decoder = states
    final = load_file(tmp_path / WEIGHTS)
    changed = {name for name in final if not torch.equal(whole[name], final[name])}
    parts = {name.partition(".")[0] for name in changed}
    assert parts == {"decoder", "head"}
    assert all(torch.equal(decoder[name], final[name]) for name in final)


def test_the_encoder_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    weights = []
    for epochs in (1, 3):
        folder = tmp_path / str(epochs)
        folder.mkdir()
        rates = {"encoder_learning_rate": 1e-30, "weight_decay": 0}
        write_project(folder, epochs=epochs, decoder_epochs=0, **rates)
        train(folder)
        weights.append(load_file(folder / WEIGHTS))
    first, more = weights
    changed = {name for name in more if not torch.allclose(first[name], more[name], atol=1e-20)}
    assert {name.partition(".")[0] for name in changed} == {"decoder", "head"}


def test_an_inner_expert_learns_its_two_parts(tmp_path: Path) -> None:
    """The colours tell them apart, so a few steps more than by chance suffice."""
    write_project(tmp_path, epochs=12, learning_rate=0.01, ema_decay=0.5)
    train(tmp_path, "body")
    metrics = json.loads((tmp_path / "results/experts/body/metrics.json").read_text())
    assert metrics["iou"].keys() == {"upper", "lower"}
    assert metrics["mIoU"] > 0.8


def test_an_expert_of_children_learns_and_shows_no_leaves(tmp_path: Path) -> None:
    write_project(tmp_path, model={"targets": "children"})
    shown = []
    with mock.patch.object(History, "add_examples", lambda _, *args: shown.append(args)):
        train(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    assert len(weights["head.weight"]) == 2
    batch, logits = shown[-1]
    assert logits.shape[1] == 2
    assert set(batch.target.unique().tolist()) == {0, 1}


def train_in_two_processes(folder: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    module = ["-m", "train_stage.train_expert", "person"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [sys.executable, *launch, *module], cwd=folder, env=os.environ | environment, check=True
    )


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    model = {"dropout": 0}
    # The last batch of validation has one sample for two processes.
    one = write_project(tmp_path / "one", val=5, model=model)
    two = write_project(tmp_path / "two", val=5, model=model, devices=2)
    train(one)
    train_in_two_processes(two)
    for alone, together in zip(history(one), history(two), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)
    assert checkpoints(two) == set()


@pytest.mark.slow
def test_two_processes_train_an_encoder_whose_finest_features_are_not_used(tmp_path: Path) -> None:
    model = TIMM | {"norm": "batch", "finest_scale": 1}
    write_project(tmp_path, model=model, input_size=64, devices=2)
    train_in_two_processes(tmp_path)
    assert len(history(tmp_path)) == 3
