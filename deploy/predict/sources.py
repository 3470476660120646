"""The files that a command line names: files, folders, patterns, a list on standard input."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.predict.video_reader import DEMUXERS

LIST = "-"
"""The source that stands for paths on standard input, one per line."""

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2"),
        *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Taken from folders, besides videos; a file that is named itself is always tried."""


@dataclass(frozen=True)
class Sources:
    """The files to segment, and what folders contain besides."""

    files: list[Path]
    """Absolute paths, each once, in the order of the sources; folders are sorted."""
    left_out: Counter[str]
    """Suffixes of other files in the folders, and the number of files that have them."""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in DEMUXERS


def find_sources(sources: Sequence[str], out: Path, listed: Iterable[str]) -> Sources:
    """All files that `sources` name.

    out: files in it are left out, or a second run would read what the first one wrote. listed:
    lines of standard input, read for LIST only; a file in that list may be missing. Raises
    ValueError that names every source that is neither a file nor a folder nor a matching pattern.
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
                problems.append(f"{source}: contains no image and no video")
        elif Path(source).exists():
            files = [Path(source)]
        else:
            # Path.glob takes no absolute patterns.
            names = map(Path, sorted(glob.glob(source, recursive=True)))  # noqa: PTH207
            files = [path for path in names if path.is_file() and not _within(path, out)]
            if not files:
                problems.append(f"{source}: no such file, and no file matches it as a pattern")
        found |= dict.fromkeys(_absolute(path) for path in files)
    if problems:
        raise ValueError("\n".join(problems))
    return Sources(list(found), left_out)


def _is_taken(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or is_video(path)


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    """Files below a folder, sorted, without hidden ones and those in `out`."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _same(Path(where, name), out)
        )
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _absolute(path: Path) -> Path:
    """The same path for a file however its folder is written; a link keeps its own name."""
    return Path(os.path.realpath(path.parent), path.name)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _same(one: Path | str, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
