"""A sheet of training samples with their labels, to inspect before anything is trained.

`python -m preprocessing_stage.sample_sheet` writes results/data/samples.jpg: samples in their
order, label maps laid over them below.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from preprocessing_stage.dataset.atomic_write import atomic_write, refused_in_words
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.drawing.class_names import readable
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import class_colours, palette
from preprocessing_stage.params import load_params
from preprocessing_stage.paths import STATISTICS

SAMPLES, COLUMNS = 24, 8
_TILE, _GAP, _LEGEND = 192, 4, 34


def sample_sheet(samples: Sequence[tuple[np.ndarray, np.ndarray]], tree: ClassTree) -> Image.Image:
    """Pairs of image (H, W, 3) uint8 and label map (H, W) uint8, and a legend of the leaves."""
    rows = -(-len(samples) // COLUMNS)
    size = COLUMNS * (_TILE + _GAP) + _GAP, rows * 2 * (_TILE + _GAP) + _GAP + _LEGEND
    sheet = Image.new("RGB", size, "white")
    for i, (image, labels) in enumerate(samples):
        left = _GAP + i % COLUMNS * (_TILE + _GAP)
        top = _GAP + i // COLUMNS * 2 * (_TILE + _GAP)
        covered = overlay(image, labels, palette(tree), opacity=0.75)
        for below, picture in enumerate((image, covered)):
            scale = _TILE / max(picture.shape)
            height, width = (max(1, round(scale * side)) for side in picture.shape[:2])
            tile = Image.fromarray(picture).resize((width, height))
            corner = left + (_TILE - tile.width) // 2, top + (_TILE - tile.height) // 2
            sheet.paste(tile, (corner[0], corner[1] + below * (_TILE + _GAP)))
    _draw_legend(sheet, tree)
    return sheet


def _draw_legend(sheet: Image.Image, tree: ClassTree) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    x, y = _GAP, sheet.height - _LEGEND + 8
    for leaf in tree.root.leaves():
        if leaf.id != BACKGROUND:
            name = readable(leaf.name)
            pen.rectangle((x, y, x + 16, y + 16), fill=class_colours(tree)[leaf.name])
            pen.text((x + 22, y), name, fill="#222222", font=font)
            x += 46 + round(pen.textlength(name, font))


@refused_in_words
def main() -> None:
    tree = load_params().class_tree
    split = PackedSplit("train")
    samples = [(split.image(i), split.labels(i)) for i in range(min(SAMPLES, len(split)))]
    STATISTICS.mkdir(parents=True, exist_ok=True)
    with atomic_write(STATISTICS / "samples.jpg", "wb") as file:
        sample_sheet(samples, tree).save(file, "JPEG", quality=88)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
