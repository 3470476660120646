"""Which files a command line means: files, folders, patterns, a list on standard input; and which
segmenter, if it names none."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.predict.video_reader import DEMUXERS

SEGMENTERS = (Path("pretrained/default"), Path("models/segmenter"))
"""Where a segmenter is looked for, the shipped one first."""

LIST = "-"
"""The source that stands for paths on standard input, one a line."""

PICTURE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2"),
        *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""What is taken from a folder, beside videos; a file that is named is always tried."""


@dataclass(frozen=True)
class Sources:
    """What a command line means."""

    files: list[Path]
    """Absolute paths, each once, in the order of the sources; folders are sorted."""
    left_out: Counter[str]
    """Suffixes in folders that belong to no picture or video, and how many files have them."""


def find_segmenter() -> Path:
    """The shipped segmenter, or else the one that the pipeline trained."""
    for path in SEGMENTERS:
        if path.is_dir():
            return path
    places = " nor in ".join(map(str, SEGMENTERS))
    raise FileNotFoundError(f"no segmenter in {places}: run ./pipeline.sh, or give --segmenter")


def is_video(path: Path) -> bool:
    return path.suffix.lower() in DEMUXERS


def find_sources(sources: Sequence[str], out: Path, listed: Iterable[str]) -> Sources:
    """All files that are meant.

    out: what lies in it is no source, or a second run would read what the first one wrote.
    listed: lines of standard input, read for LIST only; a file in that list may be missing.
    Raises ValueError that names every source that is nothing.
    """
    found: dict[Path, None] = {}
    left_out: Counter[str] = Counter()
    problems = []
    for source in sources:
        if source == LIST:
            files = [Path(name) for line in listed if (name := line.rstrip("\r\n"))]
            files = [path for path in files if not _within(path, out)]
        elif Path(source).is_dir():
            inside = list(_walk(Path(source), out))
            files = [path for path in inside if _is_taken(path)]
            left_out.update(p.suffix.lower() or p.name for p in inside if not _is_taken(p))
            if _same(source, out):
                problems.append(f"{source}: is --out; give another folder to write to")
            elif not files:
                problems.append(f"{source}: no picture and no video in this folder")
        elif Path(source).exists():
            files = [Path(source)]
        else:
            # Path.glob takes no absolute patterns.
            names = map(Path, sorted(glob.glob(source, recursive=True)))  # noqa: PTH207
            files = [path for path in names if path.is_file() and not _within(path, out)]
            if not files:
                problems.append(f"{source}: no such file, and no file fits it as a pattern")
        found |= dict.fromkeys(_absolute(path) for path in files)
    if problems:
        raise ValueError("\n".join(problems))
    return Sources(list(found), left_out)


def _is_taken(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES or is_video(path)


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    """Files below a folder, sorted; neither hidden ones nor those in `out`."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _same(Path(where, name), out)
        )
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _absolute(path: Path) -> Path:
    """One path for a file however its folder is written; a link keeps its own name."""
    return Path(os.path.realpath(path.parent), path.name)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _same(one: Path | str, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
