"""Numbered files: the label map of each frame of a video.

A pattern as FFmpeg writes it, `frames/clip/%06d.png`, stands for all of them.
"""

from __future__ import annotations

import re
from pathlib import Path

FRAME = "%06d.png"
"""Of frame 1, 2, ...; a video of ten hours has a million."""


def frame_path(pattern: Path, number: int) -> Path:
    return pattern.with_name(FRAME % number)


def frames_of(pattern: Path) -> list[Path]:
    """The numbered files that are there, sorted by number."""
    try:
        names = [path.name for path in pattern.parent.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbered = [name for name in names if re.fullmatch(r"\d{6,}\.png", name)]
    return [pattern.with_name(name) for name in sorted(numbered, key=lambda n: int(n[:-4]))]


def remove_frames(pattern: Path, after: int = 0) -> None:
    """Remove those of numbers larger than `after`."""
    for path in frames_of(pattern):
        if int(path.stem) > after:
            path.unlink()
