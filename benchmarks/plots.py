"""How all plots of the benchmarks look."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.drawing.class_names import PLAIN_TEXT


@matplotlib.rc_context(PLAIN_TEXT)
def save_svg(figure: Figure, path: Path) -> None:
    """Write the figure, with grids and, where there are labels, legends; always the same bytes."""
    for axis in figure.axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
