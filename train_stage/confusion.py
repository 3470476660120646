"""Counts of (truth, prediction) pairs, and IoU as their ratio. Counts first, ratios once."""

from __future__ import annotations

import numpy as np

from preprocessing_stage.dataset.class_tree import IGNORE


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of class t predicted as class p at [t, p], (classes, classes) int64.

    truth: uint8, 0..classes-1, or 255 for pixels that do not count.
    prediction: same shape, 0..classes-1 wherever truth is not 255.
    """
    counted = truth != IGNORE
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (..., C) float64 from (..., C, C) counts.

    A class that is neither in the truth nor in the prediction yields nan.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion.sum(-2) - hit
    with np.errstate(invalid="ignore"):  # 0 / 0
        result: np.ndarray = hit / union
    return result
