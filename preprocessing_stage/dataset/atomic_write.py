"""Files and folders that are there whole or not at all.

Everything is written beside its place, flushed to the disk and renamed: a kill, a full disk or a
power cut leaves the old one, the new one or none, never a half.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path, mode: str = "w", **how: Any) -> Iterator[IO[Any]]:
    """A file to write (`how` as for `open`) that takes the place of `path` at the block's end.

    If the block raises, `path` stays as it was; an OSError, of a full disk say, names it.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open(mode, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    _flush(path.parent)


def write_json(path: Path, figures: Any) -> None:
    """`figures` as JSON. A figure that is not there, nan, is null: JSON knows no nan."""
    with atomic_write(path) as file:
        file.write(json.dumps(_without_nan(figures), indent=2, allow_nan=False) + "\n")


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file that `read_table` reads."""
    with atomic_write(path, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, column -> text. Raises OSError."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def replace_folder(part: Path, path: Path) -> None:
    """Move the finished folder `part` to `path`; a folder that is there goes away."""
    for entry in part.rglob("*"):
        _flush(entry)
    _flush(part)
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    _flush(path.parent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(below) for key, below in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _flush(path: Path) -> None:
    """To the disk; of a folder, its list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
