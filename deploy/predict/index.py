"""index.jsonl of an output folder: one entry for each source, and which files are ours.

Whatever lies in the folder and is not named by the index is somebody else's, and is never written
over. A run enters the files that it is about to write first, as those of failed sources, then
appends what came of each source: of several entries of a source the last one counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from preprocessing_stage.dataset.atomic_write import atomic_write

Entry = dict[str, Any]
"""One line: `source` (absolute path), `name`, `files` (relative to the folder) and perhaps `stale`
ones among them, the stamp of the source (`bytes`, `modified`, `segmenter`), and either `error` or
`width`, `height`, `areas` of the classes, perhaps `people` and `notes`, and `frames` and `seconds`
of a video."""

INDEX = "index.jsonl"
OWN_FOLDERS = ("overlay", "probabilities", "uncertainty", "cutout", "instances", "frames")
"""Where results of one kind lie, besides level_<k> and mask_<class>."""
MAX_STEM_BYTES = 200
"""File systems allow names of 255 bytes; a number and a suffix are appended."""


class PredictionIndex:
    """A source keeps its name in later runs, so two sources with the same stem never share a file,
    and a resumed run uses the same names whatever other sources it is given.
    """

    def __init__(self, out: Path) -> None:
        """Reads the index in the folder `out`, if any. Raises ValueError if it is not an index."""
        self.path = out / INDEX
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        for line in self._lines():
            try:
                entry = json.loads(line)
                self._names[entry["source"]] = entry["name"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self.path}: {line[:80]!r} is not an index entry; move the file away"
                ) from error
            self._entries[entry["source"]] = entry
        if not self._entries and self.path.exists() and self.path.stat().st_size:
            # A run begins with whole lines, so half of one alone is none of ours.
            raise ValueError(f"{self.path}: has no whole line of an index; move the file away")
        self._taken = {name.casefold() for name in self._names.values()}
        self.ours = {file for entry in self._entries.values() for file in _files(entry)}
        """Files that earlier runs wrote, relative to the folder."""

    def name(self, source: Path, folder: Path | None = None) -> str:
        """Name of a source: its stem, with a number if another source has that name.

        folder: one that the source lies in; the way from there comes before the stem. Compared
        without regard to case, as file systems of macOS and Windows do. Long stems are shortened.
        """
        if (known := self._names.get(str(source))) is not None:
            return known
        stem = source.stem
        while len(os.fsencode(stem)) > MAX_STEM_BYTES:
            stem = stem[:-1]
        if folder is not None:
            stem = "/".join([*_below(source, folder), stem])
        name, number = stem, 2
        while name.casefold() in self._taken:
            name, number = f"{stem}_{number}", number + 1
        self._names[str(source)] = name
        self._taken.add(name.casefold())
        return name

    @property
    def entries(self) -> list[Entry]:
        """The last one of each source."""
        return list(self._entries.values())

    def is_done(self, source: Path, stamp: Mapping[str, Any], keys: Collection[str] = ()) -> bool:
        """Whether a source has an entry without an error, of the same file and segmenter.

        keys: that it has to have. A killed run may leave files without an entry; they may belong
        to another source.
        """
        entry = self._entries.get(str(source), {"error": "none"})
        is_same = all(entry.get(key) == stamp[key] for key in stamp)
        return "error" not in entry and is_same and all(key in entry for key in keys)

    def files_of(self, source: str) -> list[str]:
        """Files that earlier runs wrote of a source, relative to the folder."""
        entry = self._entries.get(source)
        return [] if entry is None else _files(entry)

    def files_after(self, source: str, stamp: Mapping[str, Any], new: set[str]) -> dict[str, Any]:
        """What an entry says of files: all of them, and those that are `stale`, since they were
        made of another file or by another segmenter and are not among the `new` ones."""
        entry = self._entries.get(source, {"name": ""})
        before = set(self.files_of(source))
        is_same = all(entry.get(key) == stamp[key] for key in stamp)
        stale = (set(entry.get("stale", [])) if is_same else before) - new
        return {"files": sorted(before | new)} | ({"stale": sorted(stale)} if stale else {})

    def stale_files(self, source: str) -> set[str]:
        """Of `files_of` those that do not belong to its entry."""
        return set(self._entries.get(source, {}).get("stale", []))

    def frames_of(self, source: str) -> int:
        """Number of frames of a video that is done; else 0."""
        return int(self._entries.get(source, {}).get("frames", 0))

    def begin(self, files: Mapping[str, Collection[str]]) -> None:
        """Note the files of each source that are about to be written, should the run be
        interrupted. What was there of these sources counts as failed until they are done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        error = "interrupted; resume with --skip-existing"
        begun = {
            source: _line(
                {
                    "source": source,
                    "name": self._names[source],
                    "files": sorted({*self.files_of(source), *new}),
                    "error": error,
                }
            )
            for source, new in files.items()
        }
        self._compact(begun)

    def end(self) -> None:
        """The run has ended: each source gets one entry."""
        self._compact({})

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        with self.path.open("a") as file:
            file.write(_line(entry))

    def _compact(self, new: Mapping[str, str]) -> None:
        """Write the last line of each source, or the `new` one."""
        last = {json.loads(line)["source"]: line for line in self._lines()} | dict(new)
        with atomic_write(self.path) as file:
            file.writelines(last.values())

    def _lines(self) -> Iterator[str]:
        """Complete lines: a killed run may have left half of one."""
        if self.path.exists():
            with self.path.open() as file:
                yield from (line for line in file if line.endswith("\n"))


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


def _files(entry: Entry) -> list[str]:
    """Files of an entry; releases before 0.2 did not list them."""
    name = entry["name"]
    found: list[str] = entry.get("files", [f"{name}.png", f"{name}.mp4"])
    return found


def _below(source: Path, folder: Path) -> list[str]:
    """Folders on the way to a source; none has a name that results of one kind lie under."""
    try:
        parts = list(source.parent.relative_to(folder).parts)
    except ValueError:  # a link led elsewhere
        return []
    first = parts[0].casefold() if parts else ""
    if first in OWN_FOLDERS or first.startswith(("level_", "mask_")):
        parts[0] += "_"
    return parts
