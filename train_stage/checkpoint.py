"""A training run's state on disk, so that a killed run goes on where its last epoch ended."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import torch

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.file_lock import file_lock
from preprocessing_stage.dataset.packed_samples import DamagedError
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import CHECKPOINTS, DVC_LOCK

FINISHED = "finished"
_DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """One file in a folder that is named for everything that determines the run.

    Another param, other data or other code is another folder, so a checkpoint never continues a
    run that it does not belong to. Once a run has one, it takes the place of those that unfinished
    runs of the same expert left.
    """

    def __init__(
        self, expert: str, determined_by: dict[str, Any], folder: Path = CHECKPOINTS
    ) -> None:
        """determined_by: JSON-able values that the run depends on."""
        text = json.dumps(determined_by, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.expert, self.folder = expert, folder / f"{expert}-{digest}"
        self._file = self.folder / "state.pt"
        self._took, self._ended = 0.0, time.monotonic()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process. Raises UserError if another one holds it."""
        return file_lock(self.folder / "lock", "training this expert")

    def load(self) -> dict[str, Any] | None:
        """The state saved last, None if there is none. Raises DamagedError."""
        return read_state(self._file) if self._file.exists() else None

    def is_due(self) -> bool:
        """Whether saving takes less than a tenth of the time since it was last done."""
        return time.monotonic() - self._ended >= 10 * self._took

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state at one stroke: a kill leaves the old one or the new one."""
        began = time.monotonic()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with atomic_write(self._file, "wb") as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
        self._remove_others()
        self._ended = time.monotonic()
        self._took = self._ended - began

    def _remove_others(self) -> None:
        """Not those of finished runs, whose results DVC may yet record, nor of running ones."""
        for other in self.folder.parent.glob(f"{self.expert}-*"):
            if other == self.folder or (other / FINISHED).exists():
                continue
            with suppress(UserError, OSError), file_lock(other / "lock", "training this expert"):
                shutil.rmtree(other, ignore_errors=True)

    def finish(self) -> None:
        """The results are written, but DVC has not recorded them yet: a kill must not lose them."""
        (self.folder / FINISHED).touch()


def read_state(file: Path) -> dict[str, Any]:
    """What `Checkpoint.save` wrote. Raises DamagedError."""
    digest, state = (data := file.read_bytes())[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(state).digest() != digest:
        raise DamagedError(
            f"{file}: damaged since it was saved; delete it to train this expert anew"
        )
    result: dict[str, Any] = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    return result


def remove_recorded(folder: Path = CHECKPOINTS) -> None:
    """Remove the state of finished runs of all experts that DVC has recorded since."""
    recorded = DVC_LOCK.stat().st_mtime_ns if DVC_LOCK.exists() else 0
    for mark in folder.glob(f"*/{FINISHED}"):
        with suppress(FileNotFoundError):  # another training that starts now removes them too
            if mark.stat().st_mtime_ns < recorded:
                shutil.rmtree(mark.parent, ignore_errors=True)


def finish_folds(folder: Path = CHECKPOINTS) -> None:
    """What `Checkpoint.finish` does, for those of all folds, which are one stage for DVC."""
    for state in folder.glob("fold_*-*"):
        (state / FINISHED).touch()


def fingerprint(*paths: Path) -> str:
    """Hash of the contents of files; a folder stands for all Python files in it."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
