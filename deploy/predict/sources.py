"""The files that a command line names: files, folders, patterns, a list on standard input."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO

from deploy.predict.video_container import DEMUXERS, container_by_content

LIST = "-"
"""The source that stands for paths on standard input."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".jp2"),
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
    linked: list[Path]
    """Folders that are links, which are not followed."""
    unreadable: list[str]
    """Folders that could not be listed, with the reason."""
    folder_of: dict[Path, Path]
    """The source folder in which a file was found, for those that were not named themselves."""
    in_out: int = 0
    """Number of listed and matching files that lie in the output folder, and are left out."""

    def share_stems(self) -> bool:
        """Whether files in different subfolders of a source folder have the same stem."""
        where = {(f, path.stem.casefold(), path.parent) for path, f in self.folder_of.items()}
        stems = Counter((folder, stem) for folder, stem, _ in where)
        return any(count > 1 for count in stems.values())


@lru_cache(maxsize=100_000)
def is_video(path: Path) -> bool:
    """By the suffix; of a file that has none of ours, by the content."""
    suffix = path.suffix.lower()
    if suffix in DEMUXERS or suffix in IMAGE_SUFFIXES:
        return suffix in DEMUXERS
    try:
        return path.is_file() and container_by_content(path) is not None
    except OSError:  # the reader says what is wrong with it
        return False


def find_sources(sources: Sequence[str], out: Path, listed: Iterable[str]) -> Sources:
    """All files that `sources` name.

    out: files in it are left out, or a second run would read what the first one wrote. listed:
    paths for LIST; a file in that list may be missing. Raises ValueError that names every source
    that is neither a file nor a folder nor a matching pattern.
    """
    found: dict[Path, None] = {}
    problems: list[str] = []
    inside, in_out = Sources([], Counter(), [], [], {}), 0
    for source in sources:
        files: list[Path] = []
        if _ADDRESS.match(source):
            problems.append(f"{source}: addresses are not read; download the file first")
        elif source == LIST:
            names = [Path(name) for name in listed]
            files = [path for path in names if not _within(path, out)]
            in_out += len(names) - len(files)
            if not files:
                reason = f"all {len(names)} paths lie in {out}" if names else "is empty"
                problems.append(f"standard input: {reason}")
        elif _same(source, out) and Path(source).is_dir():
            problems.append(f"{source}: is --out; give another folder to write to")
        elif Path(source).is_dir():
            files = _in_folder(Path(source), out, inside)
            where = _absolute(Path(source) / "x").parent
            for path in files:
                inside.folder_of.setdefault(_absolute(path), where)
            if not files:
                problems.append(f"{source}: contains no image and no video")
        elif Path(source).exists():
            files = [Path(source)]
        else:
            # Path.glob takes no absolute patterns.
            matches = map(Path, sorted(glob.glob(source, recursive=True)))  # noqa: PTH207
            those = [path for path in matches if path.is_file()]
            files = [path for path in those if not _within(path, out)]
            in_out += len(those) - len(files)
            if those and not files:
                problems.append(f"{source}: matches only what lies in {out}")
            elif not files:
                problems.append(f"{source}: no such file, and no file matches it as a pattern")
        found |= dict.fromkeys(_absolute(path) for path in files)
    if problems:
        raise ValueError("\n".join(problems))
    return replace(inside, files=list(found), in_out=in_out)


def read_list(stream: IO[bytes]) -> list[str]:
    """Paths of a list, one a line or, as `find -print0` writes them, ended by NUL. Names that are
    not UTF-8 stay what they are; a byte-order mark and blank lines are skipped."""
    data = stream.read().removeprefix(b"\xef\xbb\xbf")
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(name) for name in names if name.strip()]


def _in_folder(folder: Path, out: Path, seen: Sources) -> list[Path]:
    """Images and videos below a folder; what else is there goes into `seen`."""
    files = []
    for path in _walk(folder, out, seen):
        if _is_taken(path):
            files.append(path)
        else:
            seen.left_out[path.suffix.lower() or path.name] += 1
    return files


def _is_taken(path: Path) -> bool:
    return path.suffix.lower() in {*IMAGE_SUFFIXES, *DEMUXERS}


def _walk(folder: Path, out: Path, seen: Sources) -> Iterator[Path]:
    """Files below a folder, sorted, without hidden ones and those in `out`."""

    def refused(error: OSError) -> None:
        seen.unreadable.append(f"{error.filename}: {error.strerror}")

    for where, folders, names in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen.linked.extend(Path(where, name) for name in folders if Path(where, name).is_symlink())
        folders[:] = [name for name in folders if not _same(Path(where, name), out)]
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _absolute(path: Path) -> Path:
    """The same path for a file however its folder is written; a link keeps its own name."""
    return Path(os.path.realpath(path.parent), path.name)


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _same(one: Path | str, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
