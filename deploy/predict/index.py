"""index.jsonl of a folder of predictions: a line for each source, and what each is called."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from preprocessing_stage.dataset.atomic_write import atomic_write

Entry = dict[str, Any]
"""A line: `source` (absolute path), `name`, and what was found, or `error`."""

INDEX = "index.jsonl"
MAX_STEM_BYTES = 200
"""Bytes. A file system takes names of 255, and numbers and endings come after it."""


class PredictionIndex:
    """Names belong to the sources that the index gives them to, in later runs too.

    Two sources with one stem therefore never share a file, and a run that goes on where another
    was broken off calls them the same, whatever else it is given.
    """

    def __init__(self, out: Path) -> None:
        """Reads the index in the folder `out`, if there is one. Raises ValueError if it is none."""
        self.path = out / INDEX
        self._names: dict[str, str] = {}
        self._done: set[str] = set()
        for line in self._lines():
            try:
                entry = json.loads(line)
                self._names[entry["source"]] = entry["name"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self.path}: {line[:80]!r} is no line of an index; move the file away"
                ) from error
            if "error" not in entry:
                self._done.add(entry["source"])
        self._taken = {name.casefold() for name in self._names.values()}

    def name(self, source: Path) -> str:
        """What a source is called: its stem, and a number if another source is called so.

        Letters of either case are one, as file systems of macOS and Windows have it. A long
        stem is cut.
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
        """Whether a source had a line without an error when the index was read.

        A killed run leaves files without one, of which nobody knows whose they are.
        """
        return str(source) in self._done

    def forget(self, sources: Collection[Path]) -> None:
        """Take out the lines of sources that are about to get new ones; names stay theirs."""
        renewed = set(map(str, sources))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path) as file:
            for line in self._lines():
                if json.loads(line)["source"] not in renewed:
                    file.write(line)

    def add(self, entry: Entry) -> None:
        """Append a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _lines(self) -> Iterator[str]:
        """Complete lines: a run that was killed may have left half of one."""
        if self.path.exists():
            with self.path.open() as file:
                yield from (line for line in file if line.endswith("\n"))
