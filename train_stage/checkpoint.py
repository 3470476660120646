"""A training run's state on disk, so that a killed run goes on where its last epoch ended."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(".checkpoints")


class Checkpoint:
    """One file in a folder that is named for everything that determines the run.

    Another param, other data or other code is another folder, so a checkpoint never continues a
    run that it does not belong to.
    """

    def __init__(self, expert: str, determined_by: dict[str, Any], folder: Path = FOLDER) -> None:
        """determined_by: JSON-able values that the run depends on."""
        text = json.dumps(determined_by, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder = folder / f"{expert}-{digest}"
        self._file = self.folder / "state.pt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process: a trainer that outlived its `dvc repro` may still run.

        Raises RuntimeError if another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(
                    f"{self.folder}: another process trains this expert; wait for it or end it"
                ) from error
            yield

    def load(self) -> dict[str, Any] | None:
        """The state saved last, None if there is none."""
        if not self._file.exists():
            return None
        return torch.load(self._file, map_location="cpu", weights_only=True)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state at one stroke: a kill leaves the old one or the new one."""
        part = self._file.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._file)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint(*paths: Path) -> str:
    """Hash of the contents of files; a folder stands for all Python files in it."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
