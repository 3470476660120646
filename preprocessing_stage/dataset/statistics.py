"""What training reads of the statistics that preprocessing left in results/data."""

from __future__ import annotations

from pathlib import Path

from preprocessing_stage.dataset.atomic_write import read_table
from preprocessing_stage.paths import STATISTICS


def read_pixels(split: str, folder: Path = STATISTICS) -> dict[str, int]:
    """Class name -> pixels of the split, for classes of all levels and the background."""
    rows = read_table(folder / "class_frequencies.csv")
    return {row["name"]: int(row["pixels"]) for row in rows if row["split"] == split}


def read_gray(folder: Path = STATISTICS) -> set[str]:
    """Ids of the gray samples of both kinds and splits."""
    return {row["id"] for row in read_table(folder / "grayscale.csv")}
