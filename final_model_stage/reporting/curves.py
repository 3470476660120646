"""Curves inside the report, as addresses that hold the picture itself."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from final_model_stage.reporting.figures import FAINT, INK
from preprocessing_stage.drawing.class_names import PLAIN_TEXT, readable

_STYLE: dict[Any, Any] = PLAIN_TEXT | {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.fonttype": "none",  # text in the reader's own font: a quarter of the size
    "svg.hashsalt": "report",  # else the names of clipping paths are chosen at random
    "font.family": "sans-serif",
}


@matplotlib.rc_context(_STYLE)
def loss_curves(history: Sequence[Mapping[str, str]]) -> str:
    """Loss over the epochs, in training and in validation. history: lines of history.csv."""
    figure, axes = _axes(history, "loss")
    _curve(axes, history, "loss", INK, "training", linestyle=(0, (3, 2)))
    _curve(axes, history, "val_loss", INK, "validation")
    return _finished(figure, axes)


@matplotlib.rc_context(_STYLE)
def iou_curves(
    history: Sequence[Mapping[str, str]], colours: Mapping[str, tuple[int, int, int]]
) -> str:
    """IoU in validation over the epochs, of the expert's classes (RGB each) and their mean."""
    figure, axes = _axes(history, "IoU in validation")
    for name, rgb in colours.items():
        _curve(axes, history, f"iou_{name}", np.array(rgb) / 255, readable(name), linewidth=2.2)
    _curve(axes, history, "mIoU", INK, "mean", linestyle=(0, (1, 1)))
    axes.set_ylim(0, 1)
    return _finished(figure, axes)


def _axes(history: Sequence[Mapping[str, str]], title: str) -> tuple[Figure, Axes]:
    """Empty axes over the epochs, the phase of the decoder shaded."""
    figure = Figure((4.4, 3.0), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", xlim=(0.5, len(history) + 0.5))
    axes.set_title(title, size=10, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    decoder = [i for i, row in enumerate(history) if row["phase"] == "decoder"]
    if decoder:
        axes.axvspan(decoder[0] + 0.5, decoder[-1] + 1.5, color="#f0f0ee", linewidth=0)
        axes.text(
            decoder[-1] + 1.4, 1.02, "decoder alone", ha="right", color=FAINT, size=8,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure, axes


def _curve(
    axes: Axes,
    history: Sequence[Mapping[str, str]],
    column: str,
    colour: Any,
    label: str,
    **style: Any,
) -> None:
    epochs = [int(row["epoch"]) for row in history]
    values = [float(row[column]) for row in history]
    axes.plot(epochs, values, color=colour, label=label, marker=".", markersize=4, **style)


def _finished(figure: Figure, axes: Axes) -> str:
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{b64encode(text.getvalue().encode()).decode()}"
