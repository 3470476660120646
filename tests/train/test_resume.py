"""Trainings that are broken off, damaged or run again: what is kept and what is refused."""

from __future__ import annotations

import errno
import json
import os
import time
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from train_fixtures import (
    TIMM,
    sections,
    write_project,
)
from train_runs import (
    EPOCHS,
    EVENTS,
    EXAMPLES,
    RESULTS,
    SCALARS,
    WEIGHTS,
    checkpoints,
    events,
    history,
    killed,
    train,
)

from preprocessing_stage.pack_samples import write_checksums
from preprocessing_stage.paths import STATISTICS
from train_stage import trainer as training_module
from train_stage.checkpoint import FINISHED, Checkpoint, remove_recorded
from train_stage.ema import ModelEma

pytestmark = pytest.mark.slow


def test_a_finished_run_is_kept_until_dvc_has_recorded_it(tmp_path: Path) -> None:
    """A kill between the end of the training and DVC's note of it costs no training."""
    write_project(tmp_path)
    train(tmp_path)
    results = {path: (tmp_path / path).read_bytes() for path in (WEIGHTS, RESULTS / "history.csv")}
    for path in results:  # as DVC does before it runs a stage again
        (tmp_path / path).unlink()
    with mock.patch.object(ModelEma, "update") as steps:
        train(tmp_path)
    assert steps.call_count == 0
    assert all((tmp_path / path).read_bytes() == data for path, data in results.items())
    (tmp_path / "dvc.lock").touch()
    os.utime(tmp_path / "dvc.lock", (time.time() + 1,) * 2)  # a clock tick may be both's
    with mock.patch.object(ModelEma, "update") as steps:
        train(tmp_path)
    assert steps.call_count == 6
    assert len(list(tmp_path.glob(".checkpoints/*"))) == 1


def test_what_another_training_removed_meanwhile_is_no_error(tmp_path: Path) -> None:
    gone = tmp_path / "body-1" / FINISHED
    with mock.patch.object(Path, "glob", return_value=[gone]):
        remove_recorded(tmp_path)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        *((Checkpoint, "save", call, True) for call in EPOCHS),
        *((Checkpoint, "save", call, False) for call in EPOCHS),
        *((ModelEma, "update", call, False) for call in (2, 4, 6)),
    ],
    ids=[f"{when} {n}" for when in ("after epoch", "saving epoch", "within epoch") for n in EPOCHS],
)
def test_a_killed_run_ends_like_an_unbroken_one(
    tmp_path: Path, unbroken: Path, owner: type, name: str, call: int, after: bool
) -> None:
    write_project(tmp_path)
    with killed(owner, name, call, after=after):
        train(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    train(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (unbroken / WEIGHTS).read_bytes()
    for file in ("history.csv", "metrics.json"):
        assert (tmp_path / RESULTS / file).read_bytes() == (unbroken / RESULTS / file).read_bytes()
    assert checkpoints(tmp_path) == set()
    shown, expected = events(tmp_path), events(unbroken)
    for tag in SCALARS:
        curve = [(event.step, event.value) for event in shown.Scalars(tag)]
        assert curve == [(event.step, event.value) for event in expected.Scalars(tag)]
    assert [image.step for image in shown.Images(EXAMPLES)] == EPOCHS


@pytest.mark.parametrize("workers", [0, 2])
def test_two_runs_give_the_same_bytes_whatever_the_loader_workers(
    tmp_path: Path, unbroken: Path, workers: int
) -> None:
    folder = write_project(tmp_path)
    params = sections()
    params["machine"]["loader_workers"] = workers
    (folder / "params.yaml").write_text(json.dumps(params))
    train(folder)
    for file in (WEIGHTS, RESULTS / "history.csv", RESULTS / "metrics.json"):
        assert (tmp_path / file).read_bytes() == (unbroken / file).read_bytes()


def test_a_resumed_run_does_not_train_finished_epochs_again(tmp_path: Path) -> None:
    write_project(tmp_path)
    with killed(Checkpoint, "save", 2, after=True):
        train(tmp_path)
    step = ModelEma.update
    with mock.patch.object(ModelEma, "update", autospec=True) as steps:
        steps.side_effect = step
        train(tmp_path)
    assert steps.call_count == 2


def test_a_new_run_shows_no_curve_of_an_old_one(tmp_path: Path) -> None:
    train(write_project(tmp_path))
    params = sections(epochs=1, decoder_epochs=0)
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    train(tmp_path)
    assert [event.step for event in events(tmp_path).Scalars("loss/train")] == [1]
    assert len(list((tmp_path / EVENTS).iterdir())) == 1
    assert len(history(tmp_path)) == 1


def change_param(folder: Path) -> None:
    (folder / "params.yaml").write_text(json.dumps(sections(weight_decay=0.5)))


def change_samples(folder: Path) -> None:
    table = folder / "data/packed/samples.csv"
    table.write_text(table.read_text().replace("train_0", "train_00"))
    write_checksums(table.parent)


def change_gray(folder: Path) -> None:
    (folder / STATISTICS / "grayscale.csv").write_text("id\ntrain_0\n")


def change_class_weights(folder: Path) -> None:
    table = folder / STATISTICS / "class_frequencies.csv"
    table.write_text(table.read_text().replace("body,", "body,9"))


def change_images(folder: Path) -> None:
    images = folder / "data/packed/train.images.bin"
    images.write_bytes(images.read_bytes()[::-1])
    write_checksums(images.parent)


@pytest.mark.parametrize(
    "change", [change_param, change_samples, change_gray, change_class_weights, change_images]
)
def test_a_run_that_differs_has_a_checkpoint_of_its_own(tmp_path: Path, change: Any) -> None:
    write_project(tmp_path)
    with killed(Checkpoint, "save", 1, after=True):
        train(tmp_path)
    before = checkpoints(tmp_path)
    change(tmp_path)
    with killed(ModelEma, "update", 1):
        train(tmp_path)
    assert len(checkpoints(tmp_path) - before) == 1


def test_a_run_that_goes_back_before_its_first_epoch_loses_nothing(tmp_path: Path) -> None:
    write_project(tmp_path)
    with killed(Checkpoint, "save", 2, after=True):
        train(tmp_path)
    before, params = checkpoints(tmp_path), (tmp_path / "params.yaml").read_text()
    change_param(tmp_path)
    with killed(ModelEma, "update", 1):
        train(tmp_path)
    (tmp_path / "params.yaml").write_text(params)
    with killed(ModelEma, "update", 2, after=True):  # of the two steps that are left
        train(tmp_path)
    assert before <= checkpoints(tmp_path)


def test_two_runs_on_one_checkpoint_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path)
    save = Checkpoint.save

    def train_again(checkpoint: Checkpoint, state: dict[str, Any]) -> None:
        message = rf"lock: process {os.getpid()} is still training this expert; wait for it or"
        with pytest.raises(SystemExit, match=message):
            train(tmp_path)
        save(checkpoint, state)

    with mock.patch.object(Checkpoint, "save", train_again):
        train(tmp_path)
    assert len(history(tmp_path)) == 3


def test_a_kill_while_saving_leaves_the_state_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint("person", {}, tmp_path)
    with checkpoint.locked():
        checkpoint.save({"epoch": 1})
        with (
            mock.patch.object(torch, "save", lambda state, file: file.write(b"half") and 1 / 0),
            pytest.raises(ZeroDivisionError),
        ):
            checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 1}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(
    tmp_path: Path, unbroken: Path, damage: str
) -> None:
    write_project(tmp_path)
    with killed(Checkpoint, "save", 2, after=True):
        train(tmp_path)
    [state] = tmp_path.glob(".checkpoints/*/state.pt")
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes({"truncated": data[:-100], "flipped": data, "empty": b""}[damage])
    with pytest.raises(SystemExit, match=r"state\.pt: damaged since it was saved; delete it"):
        train(tmp_path)
    state.unlink()
    train(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (unbroken / WEIGHTS).read_bytes()


@pytest.mark.parametrize("name", ["samples.csv", "train.images.bin", "val.labels.bin"])
def test_damaged_packed_files_are_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    packed = write_project(tmp_path) / "data/packed" / name
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 1
    packed.write_bytes(data)
    with pytest.raises(SystemExit, match=rf"{name}: damaged since it was packed; pack again with"):
        train(tmp_path)


def test_a_full_disk_names_the_file_and_keeps_the_last_state(
    tmp_path: Path, unbroken: Path
) -> None:
    write_project(tmp_path)
    flush, calls = os.fsync, count(1)

    def full(descriptor: int) -> None:
        if next(calls) > 2:  # the first state and its folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    with (
        mock.patch.object(os, "fsync", full),
        pytest.raises(SystemExit, match=r"No space left on device: '.checkpoints/.*state.pt'"),
    ):
        train(tmp_path)
    assert not list(tmp_path.glob(".checkpoints/*/*.part"))
    train(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (unbroken / WEIGHTS).read_bytes()


def test_another_file_of_encoder_weights_is_another_run(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.pth"
    write_project(tmp_path, model=TIMM, encoder_weights=str(weights))
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        with (
            mock.patch.object(training_module, "load_encoder_weights"),
            killed(ModelEma, "update", 1),
        ):
            train(tmp_path)
    assert len(checkpoints(tmp_path)) == 2


def test_a_run_broken_off_at_the_larger_input_goes_on_there(tmp_path: Path) -> None:
    larger = {"input_size": 48, "epochs": 2, "learning_rate": 0.01}
    for folder in (whole := tmp_path / "whole", broken := tmp_path / "broken"):
        folder.mkdir()
        write_project(folder, high_resolution=larger, epochs=1)
    train(whole)
    with killed(Checkpoint, "save", 2, after=True):
        train(broken)
    train(broken)
    for file in (WEIGHTS, RESULTS / "history.csv"):
        assert (broken / file).read_bytes() == (whole / file).read_bytes()
