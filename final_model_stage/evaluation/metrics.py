"""Figures of a segmenter from confusion matrices of single images.

Everything starts from one array of counts, (images, leaves, leaves) int64 in the order of
`tree.leaves`: what a pixel of leaf t was predicted as. Levels merge its rows and columns, the
protocols differ in where they sum up, the bootstrap in how often an image counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from train_stage.confusion import iou


@dataclass(frozen=True)
class Evaluation:
    ids: list[str]
    counts: np.ndarray
    """(images, leaves, leaves) int64: truth x prediction in the order of `tree.leaves`."""
    oracle_counts: dict[int, np.ndarray]
    """Level k -> the same where the true regions of level k were given."""


def at_level(counts: np.ndarray, tree: ClassTree, level: int) -> np.ndarray:
    """Leaf counts (..., L, L) merged to (..., C, C), the classes of `tree.level(level)`.

    Should the tree have a background, it comes behind them as the last row and column.
    """
    groups = [tree.ids(node.name) for node in tree.level(level)]
    if BACKGROUND in tree.leaf_names:
        groups.append((BACKGROUND,))
    merge = np.array([[i in group for group in groups] for i in tree.leaf_names], np.int64)
    result: np.ndarray = merge.T @ counts @ merge
    return result


def class_iou(counts: np.ndarray, tree: ClassTree, level: int) -> np.ndarray:
    """IoU (..., C) of the classes of a level, nan where truth and prediction lack the class.

    counts: (..., L, L) of one image or of a sum of images.
    """
    return iou(at_level(counts, tree, level))[..., : len(tree.level(level))]


def mean_iou(counts: np.ndarray, tree: ClassTree, level: int) -> np.ndarray:
    """Mean of `class_iou` over the classes that occur, (...); nan where none does."""
    ious = class_iou(counts, tree, level)
    return np.ma.filled(np.ma.masked_invalid(ious).mean(-1), np.nan)


def dataset_level_miou(counts: np.ndarray, tree: ClassTree) -> dict[str, float]:
    """Dataset-level: one matrix over all pixels of all images, mIoU_k of each level."""
    total = counts.sum(0)
    return {f"mIoU_{k}": _figure(mean_iou(total, tree, k)) for k in range(tree.depth)}


def image_level_miou(counts: np.ndarray, tree: ClassTree) -> dict[str, float]:
    """Image-level: mIoU of each image over the classes that it has in truth or prediction,
    then the mean over the images that have one."""
    return {f"mIoU_{k}": _mean(mean_iou(counts, tree, k)) for k in range(tree.depth)}


def bootstrap_intervals(
    counts: np.ndarray, tree: ClassTree, resamplings: int, seed: int
) -> dict[str, dict[str, float]]:
    """95 % intervals of the dataset-level's mIoU_k by resampling images.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3: percentiles.
    All means are over the classes of the figure itself: a resampling that lacks one of them, as it
    may where few images show it, does not count.
    """
    resampled = _resampled_miou(counts, tree, resamplings, seed)
    return {f"mIoU_{k}": _interval(means) for k, means in enumerate(resampled)}


def difference_intervals(
    counts: np.ndarray, others: np.ndarray, tree: ClassTree, resamplings: int, seed: int
) -> dict[str, dict[str, float]]:
    """95 % intervals of how far the mIoU_k of `others` lie above those of `counts`, dataset level;
    both of the same images in the same order.

    Each resampling is of the same images for both, so what makes images hard cancels out: much
    smaller than the intervals of the two (Efron and Tibshirani 1993, section 8.3: paired data).
    """
    of_both = [_resampled_miou(some, tree, resamplings, seed) for some in (counts, others)]
    differences = (own - base for base, own in zip(*of_both, strict=True))
    return {f"mIoU_{k}": _interval(some) for k, some in enumerate(differences)}


def _resampled_miou(
    counts: np.ndarray, tree: ClassTree, resamplings: int, seed: int
) -> list[np.ndarray]:
    """mIoU (resamplings,) of each level when images are drawn anew, the same ones for one seed; nan
    for a resampling that lacks a class."""
    images = len(counts)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(images, np.full(images, 1 / images), resamplings)
    totals = (times @ counts.reshape(images, -1)).reshape(resamplings, *counts.shape[1:])
    result = []
    for k in range(tree.depth):
        occurs = ~np.isnan(class_iou(counts.sum(0), tree, k))
        ious = class_iou(totals, tree, k)[:, occurs]
        result.append(ious.sum(1) / occurs.sum() if occurs.any() else np.full(len(ious), np.nan))
    return result


def _interval(values: np.ndarray) -> dict[str, float]:
    there = values[~np.isnan(values)]
    low, high = np.percentile(there, [2.5, 97.5]) if len(there) else (np.nan, np.nan)
    return {"low": _figure(low), "high": _figure(high)}


def miou_by_size(counts: np.ndarray, tree: ClassTree) -> dict[str, dict[str, float]]:
    """Dataset-level within each quartile of foreground pixels, smallest people first.

    Images without foreground are left out.
    """
    foreground = counts.sum(2)[:, tree.foreground_rows].sum(1)
    order = np.argsort(foreground, kind="stable")
    order = order[foreground[order] > 0]
    return {
        f"quartile_{q + 1}": {"images": len(part), **dataset_level_miou(counts[part], tree)}
        for q, part in enumerate(np.array_split(order, 4))
        if len(part)
    }


def summary(
    counts: np.ndarray,
    oracle_counts: dict[int, np.ndarray],
    tree: ClassTree,
    *,
    resamplings: int,
    seed: int,
) -> dict[str, Any]:
    """All figures of a segmenter on a split, in the form of `metrics.json`.

    oracle_counts: level k -> counts where the true regions of level k were given.
    """
    total = counts.sum(0)
    return {
        "protocol": "dataset",
        **dataset_level_miou(counts, tree),
        "interval": bootstrap_intervals(counts, tree, resamplings, seed),
        "iou": {
            node.name: _figure(value)
            for k in range(tree.depth)
            for node, value in zip(tree.level(k), class_iou(total, tree, k), strict=True)
        },
        "pixel_accuracy": _figure(np.trace(total) / total.sum() if total.any() else np.nan),
        "per_image": image_level_miou(counts, tree),
        "oracle": {
            f"level_{k}": {
                name: value
                for name, value in dataset_level_miou(some, tree).items()
                if int(name.removeprefix("mIoU_")) > k
            }
            for k, some in oracle_counts.items()
        },
        "by_size": miou_by_size(counts, tree),
        "images": len(counts),
    }


def format_figure(value: float | None, digits: int = 3) -> str:
    """A figure as it is written out; a dash for one that is not there, null or nan."""
    return "\u2013" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _figure(value: Any) -> float:
    return round(float(value), 6)


def _mean(values: np.ndarray) -> float:
    return _figure(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
