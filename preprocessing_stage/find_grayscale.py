"""Find gray photographs: they lack the colours that experts learn to lean on.

`python -m preprocessing_stage.find_grayscale` writes results/data/grayscale.csv (a line a gray
sample) and grayscale.json (their shares).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from preprocessing_stage.dataset.atomic_write import write_json, write_table
from preprocessing_stage.dataset.dataset_folder import SPLITS
from preprocessing_stage.dataset.packed_samples import SampleRow, sample_rows
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import STATISTICS


def gray_kind(row: SampleRow, near_gray_chroma: int) -> str | None:
    """`exact` (R = G = B everywhere), `near` (99 % of the pixels below the threshold) or None."""
    if row.chroma_max == 0:
        return "exact"
    return "near" if row.chroma_p99 < near_gray_chroma else None


def find_grayscale(
    rows: Iterable[SampleRow], near_gray_chroma: int
) -> tuple[list[tuple[str, str, str, int]], dict[str, dict[str, float]]]:
    """Gray samples as (split, id, kind, chroma_p99), and per split the share of each kind."""
    rows = list(rows)
    found = [
        (row.split, row.id, kind, row.chroma_p99)
        for row in rows
        if (kind := gray_kind(row, near_gray_chroma))
    ]
    shares = {
        split: {
            kind: round(
                sum(s == split and k == kind for s, _, k, _ in found)
                / max(1, sum(row.split == split for row in rows)),
                6,
            )
            for kind in ("exact", "near")
        }
        for split in SPLITS
    }
    return found, shares


@exits_on_user_error()
def main() -> None:
    found, shares = find_grayscale(sample_rows(), load_preprocessing_params().data.near_gray_chroma)
    STATISTICS.mkdir(parents=True, exist_ok=True)
    write_table(STATISTICS / "grayscale.csv", ["split", "id", "kind", "chroma_p99"], found)
    write_json(STATISTICS / "grayscale.json", shares)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
