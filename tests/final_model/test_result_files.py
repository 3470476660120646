"""Tables of an evaluation, counted by hand: whose pixels a figure is about."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from final_model_stage.evaluation.metrics import Evaluation, summary
from final_model_stage.evaluation.result_files import make_folder, read_images, write_results
from final_model_stage.report import confusion_shares
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.user_error import UserError

TREE = ClassTree({"image": {"background": 0, "plant": {"stem": 3, "cap": 1}, "foot": 2}})
COUNTS = np.array(
    [
        [[50, 10, 0, 0], [4, 16, 0, 0], [0, 0, 0, 0], [0, 5, 0, 15]],
        [[20, 70, 0, 10], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]
)
"""Of two images: background, cap, foot and stem in truth (rows) and prediction."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    figures = summary(COUNTS, {}, TREE, resamplings=100, seed=0)
    write_results(Evaluation(["a", "b"], COUNTS, {}), TREE, figures, tmp_path)
    return tmp_path


def test_results_replace_results_and_no_file_of_others(results: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "deep/new")
    make_folder(results)
    for content in ("{}", "[]", "no JSON"):
        (results / "metrics.json").write_text(content)
        with pytest.raises(UserError, match=r"metrics\.json, iou\.csv.*, not of an evaluation"):
            make_folder(results)
    with pytest.raises(OSError, match="exists"):
        make_folder(results / "images.csv")


def test_pixel_accuracy_is_the_share_of_all_pixels_that_get_their_leaf() -> None:
    figures = summary(COUNTS, {}, TREE, resamplings=100, seed=0)
    assert figures["pixel_accuracy"] == pytest.approx((50 + 16 + 15 + 20) / 200)


def test_the_foreground_share_of_an_image_is_that_of_its_truth(results: Path) -> None:
    shares = {row["id"]: float(row["foreground_share"]) for row in read_images(results)}
    assert shares == {"a": (20 + 20) / 100, "b": 0}


def test_figures_of_an_image_are_its_own(results: Path) -> None:
    rows = {row["id"]: row for row in read_images(results)}
    plant, cap, stem = (16 + 5 + 15) / (10 + 4 + 36), 16 / (10 + 5 + 4 + 16), 15 / 20
    assert float(rows["a"]["mIoU_0"]) == pytest.approx(plant, abs=1e-6)  # there is no foot
    assert float(rows["a"]["mIoU_1"]) == pytest.approx((cap + stem) / 2, abs=1e-6)
    assert float(rows["b"]["mIoU_0"]) == 0


def test_a_row_of_the_table_of_confusion_is_a_true_leaf(results: Path) -> None:
    with (results / "confusion.csv").open(newline="") as file:
        rows = {row.pop("truth"): row for row in csv.DictReader(file)}
    assert rows["background"] == {"background": "70", "cap": "80", "foot": "0", "stem": "10"}
    assert rows["stem"] == {"background": "0", "cap": "5", "foot": "0", "stem": "15"}


def test_the_report_shows_what_each_true_leaf_was_taken_for(results: Path) -> None:
    shown = confusion_shares(results, TREE)
    assert shown.names == ["background", "stem", "cap", "foot"]
    assert shown.shares == [
        [70 / 160, 10 / 160, 80 / 160, 0],
        [0, 15 / 20, 5 / 20, 0],
        [4 / 20, 0, 16 / 20, 0],
        [None] * 4,
    ]
    assert shown.first == [False, True, False, True]
