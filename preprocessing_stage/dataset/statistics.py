"""What training reads of the statistics that preprocessing left in results/data."""

from __future__ import annotations

import csv
from pathlib import Path

from preprocessing_stage.paths import STATISTICS


def read_pixels(split: str, folder: Path = STATISTICS) -> dict[str, int]:
    """Class name -> pixels of the split, for classes of all levels and the background."""
    with (folder / "class_frequencies.csv").open(newline="") as table:
        return {r["name"]: int(r["pixels"]) for r in csv.DictReader(table) if r["split"] == split}


def read_gray(folder: Path = STATISTICS) -> set[str]:
    """Ids of the gray samples of both kinds and splits."""
    with (folder / "grayscale.csv").open(newline="") as table:
        return {row["id"] for row in csv.DictReader(table)}
