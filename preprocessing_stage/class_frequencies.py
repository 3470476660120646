"""How often each class occurs, per split and level: the source of the losses' class weights.

`python -m preprocessing_stage.class_frequencies` writes class_frequencies.csv and .png in
results/data.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import ceil
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from preprocessing_stage.dataset.atomic_write import atomic_write, write_table
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.dataset_folder import SPLITS
from preprocessing_stage.dataset.packed_samples import SampleRow, sample_rows
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.drawing.class_names import PLAIN_TEXT
from preprocessing_stage.drawing.palette import class_colours
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import STATISTICS


@dataclass(frozen=True)
class Frequency:
    """How often a class occurs in a split; shares lie in 0..1."""

    split: str
    level: int
    name: str
    pixels: int
    """Of the samples as packed, which training sees; one at least where there is any."""
    pixel_share: float
    """Of all pixels that are not ignored."""
    images: int
    """Images with at least one pixel of the class."""
    image_share: float


def class_frequencies(rows: Iterable[SampleRow], tree: ClassTree) -> list[Frequency]:
    """Frequencies of every class at every level, background first."""
    table = []
    rows = list(rows)
    for split in SPLITS:
        counts = np.array(
            [
                np.array([row.pixels[i] for i in tree.leaf_names]) * row.scale
                for row in rows
                if row.split == split
            ]
        )
        total = counts.sum()
        background = [leaf for leaf in tree.leaves if leaf.id == BACKGROUND]
        for level in range(tree.depth):
            for node in [*background, *tree.level(level)]:
                pixels = counts[:, tree.rows(node.name)].sum(axis=1)
                images = int((pixels > 0).sum())
                table.append(
                    Frequency(
                        split,
                        level,
                        node.name,
                        ceil(pixels.sum()),
                        round(pixels.sum() / total, 6),
                        images,
                        round(images / len(counts), 6),
                    )
                )
    return table


@matplotlib.rc_context(PLAIN_TEXT)
def plot(table: list[Frequency], tree: ClassTree, path: Path) -> None:
    """Share of pixels and of images, a panel a level, both splits side by side."""
    figure, axes = plt.subplots(2, tree.depth, figsize=(4 * tree.depth, 6), squeeze=False)
    colours = class_colours(tree)
    for level in range(tree.depth):
        names = [node.name for node in tree.level(level)]
        for column, (value, title) in enumerate(
            [("pixel_share", "share of pixels"), ("image_share", "share of images")]
        ):
            axis = axes[column, level]
            for offset, (split, hatch) in enumerate(zip(SPLITS, (None, "////"), strict=True)):
                shares = [
                    getattr(row, value)
                    for row in table
                    if row.split == split and row.level == level and row.name in names
                ]
                axis.barh(
                    np.arange(len(names)) + 0.4 * offset,
                    shares,
                    0.38,
                    color=[np.array(colours[name]) / 255 for name in names],
                    hatch=hatch,
                    edgecolor="white",
                    label=split,
                )
            axis.set_yticks(np.arange(len(names)) + 0.2, names)
            axis.invert_yaxis()
            axis.set_title(f"level {level}: {title}", fontsize=10)
            axis.grid(axis="x", alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
            if value == "image_share":
                axis.set_xlim(0, 1)
    axes[0, -1].legend(frameon=False, fontsize=9, loc="lower right")
    figure.tight_layout()
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)


@exits_on_user_error()
def main() -> None:
    matplotlib.use("Agg")
    tree = load_preprocessing_params().class_tree
    table = class_frequencies(sample_rows(), tree)
    STATISTICS.mkdir(parents=True, exist_ok=True)
    write_table(
        STATISTICS / "class_frequencies.csv",
        [field.name for field in fields(Frequency)],
        [asdict(row).values() for row in table],
    )
    plot(table, tree, STATISTICS / "class_frequencies.png")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
