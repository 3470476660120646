"""A sheet of training samples with their labels, to inspect before anything is trained.

`python -m preprocessing_stage.sample_sheet` writes results/data/samples.jpg: samples in their
order, label maps laid over them below.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.drawing.class_names import readable
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import class_colours, palette
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import STATISTICS

SAMPLES, COLUMNS = 24, 8
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
"""Pillow's own has Latin letters without accents alone."""
_TILE, _GAP, _LINE = 192, 4, 26


def sample_sheet(samples: Sequence[tuple[np.ndarray, np.ndarray]], tree: ClassTree) -> Image.Image:
    """Pairs of image (H, W, 3) uint8 and label map (H, W) uint8, and a legend of the leaves."""
    rows = -(-len(samples) // COLUMNS)
    width, height = COLUMNS * (_TILE + _GAP) + _GAP, rows * 2 * (_TILE + _GAP) + _GAP
    legend = _legend(tree, width)
    sheet = Image.new("RGB", (width, height + legend.height), "white")
    sheet.paste(legend, (0, height))
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
    return sheet


def _legend(tree: ClassTree, width: int) -> Image.Image:
    """Colour and name of each leaf, in as many lines as they need."""
    font, colours = ImageFont.truetype(FONT, 15), class_colours(tree)
    names = [leaf.name for leaf in tree.root.leaves() if leaf.id != BACKGROUND]
    places, x, y = [], _GAP, 8
    for name in names:
        taken = 46 + round(font.getlength(readable(name)))
        if x > _GAP and x + taken > width:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += taken
    legend = Image.new("RGB", (width, y + _LINE), "white")
    pen = ImageDraw.Draw(legend)
    for name, (x, y) in zip(names, places, strict=True):
        pen.rectangle((x, y, x + 16, y + 16), fill=colours[name])
        pen.text((x + 22, y), readable(name), fill="#222222", font=font)
    return legend


@exits_on_user_error()
def main() -> None:
    tree = load_preprocessing_params().class_tree
    split = PackedSplit("train")
    samples = [(split.image(i), split.labels(i)) for i in range(min(SAMPLES, len(split)))]
    STATISTICS.mkdir(parents=True, exist_ok=True)
    with atomic_write(STATISTICS / "samples.jpg", "wb") as file:
        sample_sheet(samples, tree).save(file, "JPEG", quality=88)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
