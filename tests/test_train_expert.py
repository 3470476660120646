from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from torch.optim.swa_utils import AveragedModel
from train_fixtures import (
    ROOT,
    TIMM,
    draw_pairs,
    expert_params,
    sections,
    write_packed,
    write_project,
)

from preprocessing_stage.pack_samples import write_checksums
from preprocessing_stage.statistics import STATISTICS
from train_stage import train_expert
from train_stage import training as training_module
from train_stage.checkpoint import FINISHED, Checkpoint
from train_stage.model import Expert
from train_stage.samples import Batch, ExpertSamples, Sample
from train_stage.training import Training

EPOCHS = [1, 2, 3]  # two of the whole network, one of the decoder, two steps each
WEIGHTS = Path("models/experts/person.safetensors")
RESULTS = Path("results/experts/person")
EVENTS = Path("results/metrics/person")
SCALARS = {
    *("learning_rate", "loss/train", "loss/validation"),
    *("IoU/mean", "IoU/background", "IoU/body"),
}
EXAMPLES = "image | truth | prediction"

# Event files are read in order of the seconds in their names: one second or more for each.
seconds = count(int(time.time()))


def train(folder: Path, expert: str = "person") -> None:
    """What `python -m train_stage.train_expert` does in `folder`, on the CPU."""
    with (
        chdir(folder),
        mock.patch.object(sys, "argv", ["train_expert", expert]),
        mock.patch.object(torch.cuda, "is_available", return_value=False),
        mock.patch.object(event_file_writer, "time", SimpleNamespace(time=seconds.__next__)),
    ):
        train_expert.main()


@contextmanager
def killed(owner: type, name: str, call: int, *, after: bool = False) -> Iterator[None]:
    """Interrupt before, or right after, the given call of a method."""
    original, calls = getattr(owner, name), count(1)

    def method(*args: Any) -> Any:
        is_last = next(calls) == call
        result = None if is_last and not after else original(*args)
        if is_last:
            raise KeyboardInterrupt
        return result

    with mock.patch.object(owner, name, method), pytest.raises(KeyboardInterrupt):
        yield


def checkpoints(folder: Path) -> set[str]:
    """Of runs that are not finished."""
    runs = folder.glob(".checkpoints/*")
    return {path.name for path in runs if not (path / FINISHED).exists()}


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / RESULTS / "history.csv").open(newline="") as table:
        return [
            {key: float(value) for key, value in row.items() if key != "phase"}
            for row in csv.DictReader(table)
        ]


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / EVENTS)).Reload()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the expert `person` was trained from beginning to end."""
    folder = write_project(tmp_path_factory.mktemp("unbroken"))
    train(folder)
    return folder


def test_writes_weights_that_the_model_takes(unbroken: Path) -> None:
    model = Expert(expert_params().model, children=2)
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
        "parameters": sum(p.numel() for p in Expert(expert_params().model, 2).parameters()),
    }


def test_a_finished_run_is_kept_until_dvc_has_recorded_it(tmp_path: Path) -> None:
    """A kill between the end of the training and DVC's note of it costs no training."""
    write_project(tmp_path)
    train(tmp_path)
    results = {path: (tmp_path / path).read_bytes() for path in (WEIGHTS, RESULTS / "history.csv")}
    for path in results:  # as DVC does before it runs a stage again
        (tmp_path / path).unlink()
    with mock.patch.object(AveragedModel, "update_parameters") as steps:
        train(tmp_path)
    assert steps.call_count == 0
    assert all((tmp_path / path).read_bytes() == data for path, data in results.items())
    (tmp_path / "dvc.lock").touch()
    os.utime(tmp_path / "dvc.lock", (time.time() + 1,) * 2)  # a clock tick may be both's
    with mock.patch.object(AveragedModel, "update_parameters") as steps:
        train(tmp_path)
    assert steps.call_count == 6
    assert len(list(tmp_path.glob(".checkpoints/*"))) == 1


def test_tensorboard_shows_all_curves_and_examples(unbroken: Path) -> None:
    shown = events(unbroken)
    assert set(shown.Tags()["scalars"]) == SCALARS
    for row, event in zip(history(unbroken), shown.Scalars("loss/validation"), strict=True):
        assert (event.step, event.value) == (row["epoch"], pytest.approx(row["val_loss"], 1e-4))
    images = shown.Images(EXAMPLES)
    assert [image.step for image in images] == EPOCHS
    assert (images[0].width, images[0].height) == (3 * 32, 4 * 32)  # a validation batch of 4


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        *((Checkpoint, "save", call, True) for call in EPOCHS),
        *((Checkpoint, "save", call, False) for call in EPOCHS),
        *((AveragedModel, "update_parameters", call, False) for call in (2, 4, 6)),
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


@pytest.mark.parametrize("end", ["is killed by signal: Killed. ", "exited unexpectedly"])
def test_a_dead_loader_worker_ends_the_run_in_words(tmp_path: Path, end: str) -> None:
    write_project(tmp_path)
    dead = RuntimeError(f"DataLoader worker (pid 7) {end}")
    words = end.rstrip(". ")
    message = rf"^person: DataLoader worker \(pid 7\) {words}\. Run again, finished epochs stay"
    with (
        mock.patch.object(Training, "train_epoch", side_effect=dead),
        pytest.raises(SystemExit, match=message),
    ):
        train(tmp_path)


def test_a_resumed_run_does_not_train_finished_epochs_again(tmp_path: Path) -> None:
    write_project(tmp_path)
    with killed(Checkpoint, "save", 2, after=True):
        train(tmp_path)
    step = AveragedModel.update_parameters
    with mock.patch.object(AveragedModel, "update_parameters", autospec=True) as steps:
        steps.side_effect = step
        train(tmp_path)
    assert steps.call_count == 2


def test_every_epoch_draws_its_own_samples(tmp_path: Path) -> None:
    epochs: list[int] = []
    get = ExpertSamples.__getitem__

    def note(samples: ExpertSamples, key: tuple[int, int]) -> Sample:
        epochs.extend([key[0]] if samples.augment else [])
        return get(samples, key)

    with mock.patch.object(ExpertSamples, "__getitem__", note):
        train(write_project(tmp_path))
    assert epochs == 8 * [1] + 8 * [2] + 8 * [3]


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
    with killed(AveragedModel, "update_parameters", 1):
        train(tmp_path)
    assert len(checkpoints(tmp_path) - before) == 1


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


def test_a_validation_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    write_project(tmp_path)

    def predict(training: Training, batch: Batch) -> torch.Tensor:
        return torch.full((len(batch.image), 2, 32, 32), torch.inf)

    with (
        mock.patch.object(Training, "predict", predict),
        pytest.raises(SystemExit, match="validation: the loss is nan; lower learning_rate"),
    ):
        train(tmp_path)
    assert not (tmp_path / WEIGHTS).exists()
    assert len(list(tmp_path.glob(".checkpoints/*/batch.safetensors"))) == 1


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


def test_a_class_that_validation_lacks_has_no_figure(tmp_path: Path) -> None:
    splits = {"train": draw_pairs(9, 1), "val": [(i, i[..., 0] * 0) for i, _ in draw_pairs(4, 2)]}
    write_project(tmp_path)
    shutil.rmtree(tmp_path / "data"), shutil.rmtree(tmp_path / "results")
    write_packed(tmp_path, splits)
    with mock.patch.object(Training, "predict", lambda self, batch: background(len(batch.image))):
        train(tmp_path)
    text = (tmp_path / RESULTS / "metrics.json").read_text()
    assert json.loads(text)["iou"] == {"background": 1.0, "body": None}
    assert "NaN" not in text


def background(images: int) -> torch.Tensor:
    return torch.tensor([9.0, -9.0]).view(1, 2, 1, 1).expand(images, 2, 32, 32)


def test_another_file_of_encoder_weights_is_another_run(tmp_path: Path) -> None:
    weights = tmp_path / "encoder.pth"
    write_project(tmp_path, model=TIMM, encoder_weights=str(weights))
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        with (
            mock.patch.object(training_module, "load_encoder_weights"),
            killed(AveragedModel, "update_parameters", 1),
        ):
            train(tmp_path)
    assert len(checkpoints(tmp_path)) == 2


def test_fewer_samples_than_processes_can_share_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path, train=3)
    with (
        mock.patch.object(Fabric, "world_size", 2),
        pytest.raises(SystemExit, match=r"batch_size: 3 is no multiple of the 2 .* are 3 samples"),
    ):
        train(tmp_path)


@pytest.mark.parametrize("model", [{}, TIMM | {"dropout": 0.2}], ids=["unet", "timm"])
def test_the_second_phase_changes_the_decoder_only(tmp_path: Path, model: dict[str, Any]) -> None:
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
    changed = {name for name in final if not torch.equal(whole["module." + name], final[name])}
    parts = {name.partition(".")[0] for name in changed}
    assert parts == {"decoder", "head"}
    assert all(torch.equal(decoder["module." + name], final[name]) for name in final)


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


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    model = {"dropout": 0}
    # The last batch of validation has one sample for two processes.
    one = write_project(tmp_path / "one", val=5, model=model)
    two = write_project(tmp_path / "two", val=5, model=model, devices=2)
    train(one)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    module = ["-m", "train_stage.train_expert", "person"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [sys.executable, *launch, *module], cwd=two, env=os.environ | environment, check=True
    )
    for alone, together in zip(history(one), history(two), strict=True):
        assert together == pytest.approx(alone, abs=1e-4)
    assert checkpoints(two) == set()
