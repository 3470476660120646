"""What an importer reads, whatever its form: classes, samples, and the splits that they came in."""

from __future__ import annotations

import json
import reprlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

IGNORED = -1
"""Source id of pixels that take part in nothing."""


@dataclass(frozen=True)
class SourceSample:
    """A photograph and how its label map is made."""

    id: str
    image: Path
    read_labels: Callable[[], np.ndarray]
    """Label map (H, W) int32 of source ids, IGNORED where nothing is known. Raises ValueError or
    OSError, which the importer names the sample with."""


@dataclass(frozen=True)
class Source:
    """A data set in the form of another tool."""

    classes: Mapping[int, str]
    """Source id -> name."""
    samples: list[SourceSample]
    splits: Mapping[str, list[str]] = field(default_factory=dict)
    """Split (train, val) -> ids, of which some may have no sample; empty if the source has none."""


def photographs(folder: Path) -> dict[str, list[Path]]:
    """Id -> photographs of a folder, whatever the case of their ending. Raises OSError."""
    found: dict[str, list[Path]] = {}
    for path in files(folder, (".jpg", ".jpeg", ".png")):
        found.setdefault(sample_id(path.relative_to(folder)), []).append(path)
    return found


def files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """With these endings, in the folder and below it. Raises OSError."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder")
    return sorted(
        path
        for path in folder.rglob("*")
        # An archive made by macOS has a `._x.png` for each `x.png`, which is no picture.
        if path.suffix.lower() in suffixes and not path.name.startswith("._")
    )


def sample_id(name: Path) -> str:
    """Of a file's path in its folder: without its ending, folders before it as `folder_`."""
    return plain_id(name.with_suffix("").as_posix().replace("/", "_"))


def plain_id(name: str) -> str:
    """As a list of ids can hold it: without spaces around it; an accent, which macOS writes as a
    letter of its own, in one with what bears it (Unicode NFC)."""
    return unicodedata.normalize("NFC", name).strip()


def read_json(path: Path, model: type[BaseModel], folder: Path) -> tuple[Any, list[str]]:
    """What a JSON file in a folder holds, and what of it is not as in `model`, a line each."""
    name = str(path.relative_to(folder))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        return None, [f"{name}: no JSON: {error}"]
    try:
        model.model_validate(content)
    except ValidationError as error:
        return content, [
            f"{'.'.join(map(str, (name, *problem['loc'])))}: {problem['msg']}, "
            f"got {reprlib.repr(problem['input'])}"
            for problem in error.errors(include_url=False)
        ]
    return content, []
