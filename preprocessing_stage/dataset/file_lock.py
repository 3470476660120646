"""One process at a time: a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing_stage.dataset.user_error import UserError


@contextmanager
def file_lock(lock: Path, task: str) -> Iterator[None]:
    """Hold the file `lock` for this process: one that outlived its `dvc repro` may still run.

    Raises UserError that names the process which holds it, OSError if it cannot be written. The
    end of the process, however sudden, frees it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{lock}: process {file.read().strip() or 'unknown'} is still {task}; "
                "wait for it or end it"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
