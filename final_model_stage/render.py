"""Draw the final model's figures and examples.

`python -m final_model_stage.render` reads results/final (written by evaluate_segmenter),
models/segmenter and the validation split. Writes results/pictures/class_iou.png, confusion.png, and
sheets of examples: examples.jpg (chosen at random), best.jpg and worst.jpg (by the images' own mIoU
at the deepest level).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from final_model_stage.evaluation.metrics import format_figure
from final_model_stage.evaluation.result_files import read_confusion, read_images, read_metrics
from final_model_stage.params import load_final_params
from final_model_stage.reporting.figures import FAINT, INK, STYLE, Row, panel_figure, save
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.check_dataset import read_pair, sound
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.colours import LUMA
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.drawing.class_names import readable
from preprocessing_stage.drawing.palette import class_colours
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import FINAL, PICTURES, SEGMENTER

EXTREMES = 4
"""Images on the sheets of the best and the worst."""

MIN_SHARE = 0.02
"""Of the foreground in an image that may be best or worst: IoU of a few pixels says little."""

_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SHEET_DPI = 120


@matplotlib.rc_context(STYLE)
def class_iou_figure(figures: Mapping[str, Any], tree: ClassTree) -> Figure:
    """IoU of every class, level by level, with the mean of the level and its 95 % interval.

    figures: what metrics.json holds.
    """
    slots = sum(len(tree.level(k)) + 1 for k in range(tree.depth)) - 1
    figure = Figure((max(6.0, 1.05 * slots), 4.6), layout="constrained")
    axes = figure.add_subplot(xlim=(-0.6, slots - 0.4), ylim=(0, 1), ylabel="IoU")
    ticks: dict[int, str] = {}
    for k in range(tree.depth):
        first = len(ticks) + k
        _draw_level(axes, figures, tree, k, first)
        ticks |= {x: readable(node.name) for x, node in enumerate(tree.level(k), first)}
    axes.set_xticks(list(ticks), [name.replace(" ", "\n") for name in ticks.values()], size=10)
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return figure


@matplotlib.rc_context(STYLE)
def confusion_figure(counts: np.ndarray, names: list[str], tree: ClassTree) -> Figure:
    """Row-normalised confusion matrix of the leaves; what an inner node holds is framed.

    counts: (leaves, leaves) pixels, truth x prediction. names: of its rows and columns, siblings
    side by side.
    """
    pixels = counts.sum(1, keepdims=True)
    share = np.divide(counts, pixels, out=np.full(counts.shape, np.nan), where=pixels > 0)
    side = 2.2 + 0.62 * len(names)
    figure = Figure((side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("predicted", size=11)
    axes.set_ylabel("true", size=11)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), value in np.ndenumerate(share):
        percent = "-" if math.isnan(value) else f"{100 * value:.0f}"
        colour = "white" if value > 0.55 else INK if value >= 0.005 else "#bbbbbb"
        axes.text(x, y, percent, color=colour, ha="center", va="center", size=11)
    for name in tree.experts[1:]:
        inside = [names.index(leaf.name) for leaf in tree[name].leaves()]
        corner, width = (inside[0] - 0.5, inside[0] - 0.5), len(inside)
        axes.add_patch(Rectangle(corner, width, width, fill=False, color=INK, linewidth=0.9))
    labels = [readable(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("percent of the pixels of each true class", size=10, color=FAINT, pad=10)
    return figure


def extremes(rows: Sequence[Mapping[str, str]], figure: str) -> tuple[list[str], list[str]]:
    """Ids of the images with the largest and with the smallest `figure`, best and worst first.

    rows: lines of images.csv. Images with little foreground or without the figure take no part.
    """
    ranked = sorted(
        (float(row[figure]), row["id"])
        for row in rows
        if float(row["foreground_share"]) > MIN_SHARE and not math.isnan(float(row[figure]))
    )
    ids = [sample for _, sample in ranked]
    return ids[::-1][:EXTREMES], ids[:EXTREMES]


@exits_on_user_error()
def main() -> None:
    params = load_final_params()
    folder = DatasetFolder(load_preprocessing_params().data.folder)
    segmenter = TorchSegmenter.load(SEGMENTER, params.precision)
    tree = segmenter.tree
    figures = read_metrics(FINAL)
    save(class_iou_figure(figures, tree), PICTURES / "class_iou.png", levels=256)
    names, counts = read_confusion(FINAL, tree)
    save(confusion_figure(counts, names, tree), PICTURES / "confusion.png", levels=256)

    images = read_images(FINAL)
    deepest = f"mIoU_{tree.depth - 1}"
    note = {
        row["id"]: f"{_subscripted(deepest)} of this image {format_figure(float(row[deepest]), 2)}"
        for row in images
    }
    best, worst = extremes(images, deepest)
    ids = folder.ids("val")
    order = np.random.default_rng(params.seed).permutation(len(ids))[: params.examples]
    for file_name, title, chosen in (
        ("examples", "Random validation images", [ids[i] for i in order]),
        ("best", "Validation images with the highest IoU", best),
        ("worst", "Validation images with the lowest IoU", worst),
    ):
        rows = [segmented(segmenter, folder, sample, note[sample]) for sample in chosen]
        if rows:  # no image need have enough foreground to be best or worst
            save(panel_figure(rows, tree, title), PICTURES / f"{file_name}.jpg", dpi=_SHEET_DPI)


def segmented(segmenter: TorchSegmenter, folder: DatasetFolder, sample: str, note: str) -> Row:
    """A sample of the data set with its truth and prediction. Raises DatasetError."""
    pair = sound(folder, read_pair(folder, sample, segmenter.tree))
    return Row(sample, pair.image, segmenter(pair.image), pair.labels, note)


def _draw_level(
    axes: Axes, figures: Mapping[str, Any], tree: ClassTree, level: int, first: int
) -> None:
    """The bars of a level from x = `first` on, its mean as a line and the interval as a band."""
    for x, node in enumerate(tree.level(level), first):
        iou, rgb = (
            _number(figures["iou"][node.name]),
            np.array(class_colours(tree)[node.name]) / 255,
        )
        axes.bar(x, iou, 0.74, color=rgb)
        within = iou > 0.1  # the number stands in the bar, or above a low one
        light = within and rgb @ LUMA < 0.6
        axes.text(
            x,
            0.03 if within else np.nan_to_num(iou) + 0.02,
            format_figure(iou, 2),
            color="white" if light else INK,
            size=11,
            ha="center",
        )
    name = f"mIoU_{level}"
    interval = figures["interval"][name]
    mean, low, high = map(_number, (figures[name], interval["low"], interval["high"]))
    span = (first - 0.5, first + len(tree.level(level)) - 0.5)
    axes.fill_between(span, low, high, color=INK, alpha=0.18, linewidth=0, zorder=3)
    axes.hlines(mean, *span, color=INK, linewidth=1.4)
    lines: list[tuple[float, str, dict[str, Any]]] = [
        (1.15, f"level {level}", {"size": 10, "color": FAINT}),
        (1.08, f"{_subscripted(name)} {format_figure(mean)}", {"size": 11, "weight": "bold"}),
        (1.02, f"[{format_figure(low)}, {format_figure(high)}]", {"size": 8, "color": FAINT}),
    ]
    for y, words, style in lines:
        axes.text(
            sum(span) / 2, y, words, ha="center", transform=axes.get_xaxis_transform(), **style
        )


def _number(figure: float | None) -> float:
    """What is null in metrics.json is nan."""
    return math.nan if figure is None else figure


def _subscripted(figure: str) -> str:
    """mIoU_2 as it is set in print."""
    return figure.replace("_", "").translate(_SUBSCRIPT)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
