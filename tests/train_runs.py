"""Trainings of a tiny expert in a folder of their own, broken off where a test wants it."""

from __future__ import annotations

import csv
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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from train_stage import train_expert
from train_stage.checkpoint import FINISHED

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
