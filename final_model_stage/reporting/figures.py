"""Label maps as pictures: overlays on photographs, and sheets of them with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree
from preprocessing_stage.drawing.class_names import PLAIN_TEXT, readable
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import class_colours, level_palette

INK = "#222222"
FAINT = "#777777"
STYLE: dict[Any, Any] = PLAIN_TEXT | {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9.5,
    "text.color": INK,
}

# Inches. A column is as wide as the longest side of the picture in it.
_MAX_SIDE = 10_000
"""Pixels; Pillow refuses larger pictures as bombs."""
_COLUMN, _GAP, _MARGIN, _TITLE, _HEADER, _CAPTION, _LINE = 2.5, 0.1, 0.2, 0.4, 0.5, 0.3, 0.23
_PIXELS = 500  # of that side: smooth outlines, also around small photographs
_LETTERS = 40  # of a caption, as many as fit below a picture


@dataclass(frozen=True)
class Row:
    """What a sheet shows of one image of height H and width W."""

    id: str
    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    prediction: np.ndarray
    """(H, W) uint8 leaf ids."""
    truth: np.ndarray | None = None
    """(H, W) uint8 leaf ids, 255 = ignored; None if nobody knows."""
    note: str = ""
    """Stands below the predictions."""


@matplotlib.rc_context(STYLE)
def panel_figure(rows: Sequence[Row], tree: ClassTree, title: str = "") -> Figure:
    """A row for each image: photograph, truth if any row has one, prediction at each level.

    The legend of a level stands below its column; truth is shown at the deepest level.
    """
    if not rows:
        raise ValueError("a sheet needs one image or more")
    levels = [f"level {k}" for k in range(tree.depth)]
    with_truth = any(row.truth is not None for row in rows)
    heads = ["photograph", "truth", *levels] if with_truth else ["photograph", *levels]
    left_of = {head: _MARGIN + i * (_COLUMN + _GAP) for i, head in enumerate(heads)}
    legends = [_legend(tree, k, rows) for k in range(tree.depth)]
    right = left_of[heads[-1]] + _COLUMN
    top = _MARGIN + (_TITLE if title else 0) + _HEADER
    bottom = top + sum(_height(row) + _CAPTION for row in rows)
    figure, page = _page(right + _MARGIN, bottom + max(map(len, legends)) * _LINE + _MARGIN)

    page.text(_MARGIN, _MARGIN + 0.16, title, size=13, weight="bold")
    _draw_heads(page, left_of, top)
    for row in rows:
        _draw_row(page, row, tree, left_of, top)
        top += _height(row) + _CAPTION
    for level, legend in zip(levels, legends, strict=True):
        for i, line in enumerate(legend):
            for x, (name, colour) in line.items():
                corner = left_of[level] + x, bottom + i * _LINE
                page.add_patch(Rectangle(corner, 0.14, 0.14, color=colour, linewidth=0))
                page.text(corner[0] + 0.2, corner[1] + 0.12, name)
    return figure


def save(figure: Figure, path: Path, dpi: int = 150, levels: int = 64) -> None:
    """The figure as a JPEG or PNG by the suffix of `path`, the same bytes for the same figure.

    dpi: less where a side would get more than _MAX_SIDE pixels.
    levels: of each channel of a PNG, 2 to 256. On pages of photographs 64 take a third less than
    256 and look the same; an indexed palette takes less still, but changes the legend's colours.
    """
    buffer = BytesIO()
    dpi = min(dpi, int(_MAX_SIDE / max(figure.get_size_inches())))
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(buffer) as picture, atomic_write(path, "wb") as file:
        if path.suffix == ".jpg":
            picture.convert("RGB").save(file, "JPEG", quality=85, optimize=True)
            return
        steps = levels - 1
        table = [round(round(value * steps / 255) * 255 / steps) for value in range(256)]
        picture.convert("RGB").point(table * 3).save(file, "PNG", optimize=True)


def _height(row: Row) -> float:
    result: float = _COLUMN * row.image.shape[0] / max(row.image.shape[:2])
    return result


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """A white figure and axes that cover it, in inches from its upper left corner."""
    figure = Figure((width, height), facecolor="white")
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    page.axis("off")
    return figure, page


def _draw_heads(page: Axes, left_of: dict[str, float], top: float) -> None:
    for head, left in left_of.items():
        style: dict[str, Any] = {"color": FAINT} if head.startswith("level") else {"size": 11}
        page.text(left + _COLUMN / 2, top - 0.1, head, ha="center", **style)
    first, right = left_of["level 0"], max(left_of.values()) + _COLUMN
    page.text((first + right) / 2, top - 0.38, "prediction", size=11, ha="center")
    page.plot([first, right], [top - 0.3] * 2, color="#bbbbbb", linewidth=0.7)


def _draw_row(page: Axes, row: Row, tree: ClassTree, left_of: dict[str, float], top: float) -> None:
    """The pictures of a row, centred in their columns, and its id and note below them."""
    height = _height(row)
    width = height * row.image.shape[1] / row.image.shape[0]
    size = max(1, round(width / _COLUMN * _PIXELS)), max(1, round(height / _COLUMN * _PIXELS))
    image = np.asarray(Image.fromarray(row.image).resize(size, Image.Resampling.BICUBIC))

    def covered(labels: np.ndarray, level: int) -> np.ndarray:
        resized = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
        return overlay(image, np.asarray(resized), level_palette(tree, level))

    pictures = {f"level {k}": covered(row.prediction, k) for k in range(tree.depth)}
    pictures["photograph"] = image
    if row.truth is not None:
        pictures["truth"] = covered(row.truth, tree.depth - 1)
    for head, left in left_of.items():
        centre = left + _COLUMN / 2
        if head in pictures:
            extent = (centre - width / 2, centre + width / 2, top + height, top)
            page.imshow(pictures[head], extent=extent, aspect="auto")
        else:
            page.text(centre, top + height / 2, "no truth", color=FAINT, ha="center")
    for left, words in ((_MARGIN, row.id), (max(left_of.values()), row.note)):
        shown = words if len(words) <= _LETTERS else words[: _LETTERS - 1] + "\u2026"
        below = top + height + 0.16
        page.text(left + _COLUMN / 2, below, shown, size=8, color=FAINT, ha="center")


def _legend(
    tree: ClassTree, level: int, rows: Sequence[Row]
) -> list[dict[float, tuple[str, np.ndarray]]]:
    """Lines of x (inches from the left of the column) -> name and RGB (3,) in 0..1."""
    colours = class_colours(tree)
    entries = [(readable(node.name), np.array(colours[node.name])) for node in tree.level(level)]
    truths = [row.truth for row in rows if row.truth is not None]
    if level == tree.depth - 1 and any((truth == IGNORE).any() for truth in truths):
        entries.append(("ignored", level_palette(tree, level)[IGNORE]))
    widest = 0.35 + 0.078 * max(len(name) for name, _ in entries)
    columns = max(1, int(_COLUMN / widest))
    step = _COLUMN / columns
    return [
        {
            i * step: (name, rgb / 255)
            for i, (name, rgb) in enumerate(entries[start : start + columns])
        }
        for start in range(0, len(entries), columns)
    ]
