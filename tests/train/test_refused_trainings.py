"""Trainings that end in words instead of weights."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from train_fixtures import (
    write_project,
)
from train_runs import (
    WEIGHTS,
    history,
    train,
)

from preprocessing_stage.dataset.user_error import UserError
from train_stage import training
from train_stage.dataset import Batch
from train_stage.history import History
from train_stage.task import Task
from train_stage.trainer import Trainer


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    write_project(tmp_path, learning_rate=1e38)
    with pytest.raises(SystemExit, match="epoch 1: the loss is nan; lower learning_rate") as error:
        train(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    batch = load_file(tmp_path / str(error.value).rpartition(" ")[2])
    assert {name: tensor.shape for name, tensor in batch.items()} == {
        "image": (4, 3, 32, 32),
        "region": (4, 1, 32, 32),
        "target": (4, 32, 32),
    }


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    write_project(tmp_path)
    with (
        mock.patch.object(Fabric, "clip_gradients", lambda *_, **__: torch.tensor(torch.inf)),
        pytest.raises(SystemExit, match="epoch 1: the norm of the gradient is inf; lower"),
    ):
        train(tmp_path)
    assert len(list(tmp_path.glob(".checkpoints/*/batch.safetensors"))) == 1


def test_a_validation_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    write_project(tmp_path)

    def predict(training: Trainer, batch: Batch) -> torch.Tensor:
        return torch.full((len(batch.image), 3, 32, 32), torch.inf)

    with (
        mock.patch.object(Trainer, "predict", predict),
        pytest.raises(SystemExit, match="validation: the loss is nan; lower learning_rate"),
    ):
        train(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    assert len(list(tmp_path.glob(".checkpoints/*/batch.safetensors"))) == 1


def test_params_edited_during_a_training_are_not_recorded_for_it(tmp_path: Path) -> None:
    write_project(tmp_path)
    params = (tmp_path / "params.yaml").read_text()
    add_epoch = History.add_epoch

    def edit(self: History, *args: Any) -> Any:
        text = params.replace('"learning_rate": 0.002', '"learning_rate": 0.001')
        assert text != params
        (tmp_path / "params.yaml").write_text(text)
        return add_epoch(self, *args)

    with (
        mock.patch.object(History, "add_epoch", edit),
        pytest.raises(SystemExit, match=r"person: params\.yaml was edited during the training"),
    ):
        train(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    (tmp_path / "params.yaml").write_text(params)
    with mock.patch.object(Trainer, "train_epoch", side_effect=AssertionError("trains anew")):
        train(tmp_path)
    assert len(history(tmp_path)) == 3


def test_what_is_missing_is_named_in_a_line(tmp_path: Path) -> None:
    write_project(tmp_path, init_from="gone")
    with pytest.raises(SystemExit, match=r"experts\.person\.init_from: there is no gone"):
        train(tmp_path)
    write_project(tmp_path / "other")
    shutil.rmtree(tmp_path / "other/data")
    with pytest.raises(SystemExit, match=r"No such file .*checksums"):
        train(tmp_path / "other")


def test_fewer_samples_than_processes_can_share_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path, train=3)
    with (
        mock.patch.object(Fabric, "world_size", 2),
        pytest.raises(SystemExit, match=r"batch_size: 3 is no multiple of the 2 .* are 3 samples"),
    ):
        train(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["is killed by signal: Killed. ", "exited unexpectedly"])
def test_a_dead_loader_worker_ends_the_run_in_words(tmp_path: Path, end: str) -> None:
    write_project(tmp_path)
    dead = RuntimeError(f"DataLoader worker (pid 7) {end}")
    words = end.rstrip(". ")
    message = rf"^person: DataLoader worker \(pid 7\) {words}\. Run again, finished epochs stay"
    with (
        mock.patch.object(Trainer, "train_epoch", side_effect=dead),
        pytest.raises(SystemExit, match=message),
    ):
        train(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_want_of_memory_ends_the_run_in_words(tmp_path: Path, error: Exception) -> None:
    write_project(tmp_path)
    words = r"memory.*\. Run again, .*; batch_size or input_size of experts\.person may be smaller"
    with (
        mock.patch.object(Trainer, "train_epoch", side_effect=error),
        pytest.raises(SystemExit, match=words),
    ):
        train(tmp_path)


def test_more_devices_than_there_are_gpus_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path, devices=4)
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        mock.patch.object(training, "pick_precision", return_value="32-true"),
        chdir(tmp_path),
        pytest.raises(UserError, match=r"machine\.devices: is 4, this machine has GPUs: 1"),
    ):
        training.launch(Task.of_expert("person"))


def test_an_unknown_expert_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_project(tmp_path)
    with pytest.raises(SystemExit) as error:
        train(tmp_path, "nobody")
    assert "nobody" in f"{error.value} {capsys.readouterr().err}"


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path)
    with (
        mock.patch.object(Fabric, "world_size", 3),
        pytest.raises(SystemExit, match=r"batch_size: 4 is no multiple of the 3 processes"),
    ):
        train(tmp_path)


@pytest.mark.parametrize(
    ("on_each", "in_all", "refusal"),
    [
        ("2", "2", r"machine\.devices: is 1, but torchrun starts 2 on this machine"),
        ("1", "2", r"LT_NUM_NODES: is 1, but torchrun starts processes on 2 machines"),
    ],
)
def test_processes_of_torchrun_that_would_not_train_together_are_refused(
    on_each: str, in_all: str, refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", on_each)
    monkeypatch.setenv("WORLD_SIZE", in_all)
    with pytest.raises(SystemExit, match=refusal):
        train(tmp_path)
