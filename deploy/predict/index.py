"""index.jsonl of an output folder: one entry for each source, and the names of their files."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from preprocessing_stage.dataset.atomic_write import atomic_write

Entry = dict[str, Any]
"""One line: `source` (absolute path), `name`, and either the areas of the classes or `error`."""

INDEX = "index.jsonl"
MAX_STEM_BYTES = 200
"""File systems allow names of 255 bytes; a number and a suffix are appended."""


class PredictionIndex:
    """A source keeps its name in later runs, so two sources with the same stem never share a file,
    and a resumed run uses the same names whatever other sources it is given.
    """

    def __init__(self, out: Path) -> None:
        """Reads the index in the folder `out`, if any. Raises ValueError if it is not an index."""
        self.path = out / INDEX
        self._names: dict[str, str] = {}
        self._done: set[str] = set()
        for line in self._lines():
            try:
                entry = json.loads(line)
                self._names[entry["source"]] = entry["name"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self.path}: {line[:80]!r} is not an index entry; move the file away"
                ) from error
            if "error" not in entry:
                self._done.add(entry["source"])
        self._taken = {name.casefold() for name in self._names.values()}

    def name(self, source: Path) -> str:
        """Name of a source: its stem, with a number if another source has that name.

        Compared without regard to case, as file systems of macOS and Windows do. Long stems are
        shortened.
        """
        if (known := self._names.get(str(source))) is not None:
            return known
        stem = source.stem
        while len(os.fsencode(stem)) > MAX_STEM_BYTES:
            stem = stem[:-1]
        name, number = stem, 2
        while name.casefold() in self._taken:
            name, number = f"{stem}_{number}", number + 1
        self._names[str(source)] = name
        self._taken.add(name.casefold())
        return name

    def is_done(self, source: Path) -> bool:
        """Whether a source had an entry without an error when the index was read.

        A killed run may leave files without an entry; they may belong to another source.
        """
        return str(source) in self._done

    def forget(self, sources: Collection[Path]) -> None:
        """Remove the entries of sources that will get new ones; they keep their names."""
        renewed = set(map(str, sources))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as file:
            for line in self._lines():
                if json.loads(line)["source"] not in renewed:
                    file.write(line)

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _lines(self) -> Iterator[str]:
        """Complete lines: a killed run may have left half of one."""
        if self.path.exists():
            with self.path.open() as file:
                yield from (line for line in file if line.endswith("\n"))
