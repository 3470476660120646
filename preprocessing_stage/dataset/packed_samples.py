"""The packed samples as training and statistics read them."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import PACKED

CHECKSUMS = "checksums.sha256"
_REMEDY = "pack again with `dvc repro -f pack_samples`"


class DamagedError(UserError):
    """A file is not what was written. Says which one and how it is made again."""


@dataclass(frozen=True)
class SampleRow:
    """A line of samples.csv."""

    split: str
    id: str
    size: tuple[int, int]
    """Height and width as packed."""
    own_size: tuple[int, int]
    pixels: dict[int, int]
    """Leaf id -> pixels in the original label map."""
    chroma_max: int
    chroma_p99: int

    @property
    def scale(self) -> float:
        """Pixels as packed for each of the original, 1 at most."""
        (height, width), (own_height, own_width) = self.size, self.own_size
        return height * width / (own_height * own_width)


def sample_rows(packed: Path = PACKED) -> list[SampleRow]:
    """All samples in the order in which they were packed.

    Raises DamagedError if the table is not the one that was packed.
    """
    _verify(packed, "samples.csv")
    with (packed / "samples.csv").open(newline="") as table:
        return [
            SampleRow(
                split=row["split"],
                id=row["id"],
                size=(int(row["height"]), int(row["width"])),
                own_size=(int(row["own_height"]), int(row["own_width"])),
                pixels={
                    int(key.removeprefix("pixels_")): int(value)
                    for key, value in row.items()
                    if key.startswith("pixels_")
                },
                chroma_max=int(row["chroma_max"]),
                chroma_p99=int(row["chroma_p99"]),
            )
            for row in csv.DictReader(table)
        ]


class PackedSplit:
    """Images and label maps of one split, mapped into memory; indexed like its `rows`."""

    def __init__(self, split: str, packed: Path = PACKED) -> None:
        """Raises DamagedError if a packed file is not as it was packed."""
        self.rows = [row for row in sample_rows(packed) if row.split == split]
        areas = [height * width for height, width in (row.size for row in self.rows)]
        self._starts = np.concatenate([[0], np.cumsum(areas, dtype=np.int64)])
        _verify(packed, f"{split}.images.bin", f"{split}.labels.bin")
        self._images = np.memmap(packed / f"{split}.images.bin", np.uint8, "r").reshape(-1, 3)
        self._labels = np.memmap(packed / f"{split}.labels.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> np.ndarray:
        """(h, w, 3) uint8, read-only."""
        return self._images[self._slice(index)].reshape(*self.rows[index].size, 3)

    def labels(self, index: int) -> np.ndarray:
        """(h, w) uint8, read-only."""
        return self._labels[self._slice(index)].reshape(self.rows[index].size)

    def _slice(self, index: int) -> slice:
        return slice(int(self._starts[index]), int(self._starts[index + 1]))


def _verify(packed: Path, *names: str) -> None:
    """Compare files with their checksums; about a second for a gigabyte.

    Raises DamagedError that names each file that is damaged or missing.
    """
    try:
        lines = (packed / CHECKSUMS).read_text().splitlines()
        expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise DamagedError(f"{packed / CHECKSUMS}: {error}; {_REMEDY}") from error
    damaged = []
    for name in names:
        try:
            with (packed / name).open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == expected.get(name)
        except OSError:
            intact = False
        if not intact:
            damaged.append(str(packed / name))
    if damaged:
        raise DamagedError(f"{', '.join(damaged)}: damaged since it was packed; {_REMEDY}")
