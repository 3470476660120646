"""Evaluation and the pictures of its results, on a tiny segmenter."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from final_model_stage import evaluate_segmenter, render
from final_model_stage.reporting.figures import Row, panel_figure
from preprocessing_stage.dataset.class_tree import ClassTree

pytestmark = pytest.mark.slow


def test_render_draws_what_evaluation_wrote(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["models/segmenter", "data", "--split", "val", "--out", "results/final"]
    monkeypatch.setattr(sys, "argv", ["evaluate_segmenter", *arguments])
    evaluate_segmenter.main()
    sheets: list[tuple[str, list[str]]] = []

    def noted(rows: list[Row], tree: ClassTree, title: str) -> Figure:
        sheets.append((title, [row.id for row in rows]))
        assert all(row.note.startswith("mIoU₂") for row in rows)
        return panel_figure(rows, tree, title)

    monkeypatch.setattr(render, "panel_figure", noted)
    written = []
    for _ in range(2):
        render.main()
        written.append({path.name: path.read_bytes() for path in render.PICTURES.iterdir()})
    assert written[0] == written[1]  # DVC sees no change where there is none
    names = ["best.jpg", "class_iou.png", "confusion.png", "examples.jpg", "worst.jpg"]
    assert sorted(written[0]) == names

    with Path("results/final/images.csv").open(newline="") as file:
        iou = {line["id"]: float(line["mIoU_2"]) for line in csv.DictReader(file)}
    (_, examples), (_, best), (_, worst) = sheets[:3]
    assert len(set(examples)) == 3 and set(examples) <= set(iou)
    assert [iou[i] for i in best] == sorted(iou.values(), reverse=True)[:4]
    assert [iou[i] for i in worst] == sorted(iou.values())[:4]


def test_evaluation_names_a_damaged_sample(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("data/gt_masks/val_1.png").write_bytes(b"")
    words = ["models/segmenter", "data", "--out", "results"]
    monkeypatch.setattr(sys, "argv", ["evaluate_segmenter", *words])
    with pytest.raises(SystemExit, match=r"gt_masks/val_1\.png: .*replace the file"):
        evaluate_segmenter.main()
