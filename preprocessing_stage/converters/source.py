"""What an importer reads, whatever its form: classes, samples, and the splits that they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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
    """Split (train, val) -> ids; empty if the source has none."""


def find_image(folder: Path, stem: str) -> Path:
    """The photograph `stem` in a folder, whatever the case of its ending. Raises ValueError."""
    found = sorted(
        path
        for path in folder.glob(f"{glob_escaped(stem)}.*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    if not found:
        raise ValueError(f"{folder}: has no {stem}.jpg, .jpeg or .png")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder}: has {names}; keep one of them")
    return found[0]


def glob_escaped(name: str) -> str:
    """`name` as a pattern that only it fits."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
