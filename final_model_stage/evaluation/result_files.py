"""The files of an evaluation, written and read in one place.

metrics.json    all figures, see `metrics.summary`
iou.csv         level, class, iou
confusion.csv   pixels of each leaf, truth (rows) x prediction (columns)
images.csv      id, foreground_share and mIoU of each image
"""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from final_model_stage.evaluation.metrics import Evaluation, mean_iou
from preprocessing_stage.dataset.atomic_write import read_table, write_json, write_table
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.user_error import UserError

METRICS, IOU, CONFUSION, IMAGES = "metrics.json", "iou.csv", "confusion.csv", "images.csv"


def make_folder(out: Path) -> None:
    """Make the folder `out`. Raises OSError, or UserError if it holds files of these names that are
    of no evaluation."""
    out.mkdir(parents=True, exist_ok=True)
    there = [name for name in (METRICS, IOU, CONFUSION, IMAGES) if (out / name).exists()]
    with suppress(OSError, ValueError, TypeError, AttributeError):
        if "protocol" in read_metrics(out):
            return
    if there:
        raise UserError(
            f"{out}: has {', '.join(there)}, not of an evaluation; name another folder with --out"
        )


def write_results(
    evaluation: Evaluation, tree: ClassTree, figures: dict[str, Any], out: Path
) -> None:
    """All four files into the folder `out`. figures: what `metrics.summary` gives."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / METRICS, figures)
    classes = [(level, node.name) for level in range(tree.depth) for node in tree.level(level)]
    write_table(
        out / IOU,
        ["level", "class", "iou"],
        [[level, name, figures["iou"][name]] for level, name in classes],
    )
    leaves = [*tree.leaf_names.values()]
    counts = evaluation.counts.sum(0).tolist()
    write_table(
        out / CONFUSION,
        ["truth", *leaves],
        [[name, *row] for name, row in zip(leaves, counts, strict=True)],
    )
    header = ["id", "foreground_share", *(f"mIoU_{k}" for k in range(tree.depth))]
    rows = zip(evaluation.ids, evaluation.counts, strict=True)
    write_table(out / IMAGES, header, [_image_row(i, own, tree) for i, own in rows])


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json; a figure that does not exist is None."""
    figures: dict[str, Any] = json.loads((folder / METRICS).read_text())
    return figures


def read_confusion(folder: Path, tree: ClassTree) -> tuple[list[str], np.ndarray]:
    """Names of the leaves with siblings side by side, and their counts (leaves, leaves) int64."""
    with (folder / CONFUSION).open(newline="") as file:  # a leaf may be called truth too
        (_, *columns), *rows = csv.reader(file)
    leaves = [leaf.name for leaf in tree.root.leaves()]
    order = [columns.index(name) for name in leaves]
    return leaves, np.array([row[1:] for row in rows], np.int64)[np.ix_(order, order)]


def read_images(folder: Path) -> list[dict[str, str]]:
    """The lines of images.csv."""
    return read_table(folder / IMAGES)


def _image_row(sample: str, counts: np.ndarray, tree: ClassTree) -> list[str]:
    """counts: (leaves, leaves) int64 of one image."""
    share = counts.sum(1)[tree.foreground_rows].sum() / max(1, counts.sum())
    figures = [float(mean_iou(counts, tree, k)) for k in range(tree.depth)]
    return [sample, f"{share:.6f}", *(f"{value:.6f}" for value in figures)]
