"""Names of classes and folders stand in plots as they are, also where they look like formulas."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.plots import save_svg
from final_model_stage.reporting.curves import iou_curves
from preprocessing_stage.class_frequencies import class_frequencies, plot
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.packed_samples import SampleRow

NAME = "cost $^$ x"
"""Matplotlib ends on it if it takes it for a formula."""


def test_frequencies_of_any_leaf_are_drawn(tmp_path: Path) -> None:
    tree = ClassTree({"image": {"background": 0, NAME: 1}})
    rows = [SampleRow(split, "a", (9, 9), (9, 9), {0: 1, 1: 2}, 5, 5) for split in ("train", "val")]
    plot(class_frequencies(rows, tree), tree, tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").exists()


def test_curves_of_any_leaf_are_drawn() -> None:
    history = [{"epoch": "1", "phase": "whole", "mIoU": "0.5", f"iou_{NAME}": "0.5"}]
    address = iou_curves(history, {NAME: (1, 2, 3)})
    assert NAME in b64decode(address.partition(",")[2]).decode()


def test_benchmarks_of_a_segmenter_of_any_name_are_drawn(tmp_path: Path) -> None:
    figure, axis = plt.subplots()
    axis.plot([1, 2], label=NAME)
    save_svg(figure, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").exists()
