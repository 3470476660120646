"""Photographs that lie on their side or stand on their head.

A network that saw people upright finds half of their bodies when they are not. Of the predictions
at all four quarter turns the one is taken that is surest which part each pixel of the body is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from final_model_stage.segmentation import Segmentation
from preprocessing_stage.dataset.class_tree import BACKGROUND

MARGIN = 0.08
"""By which a turn must be surer than the photograph as it is: at 0, one upright photograph in eight
was turned."""

Segment = Callable[[np.ndarray], Segmentation]
"""From RGB (h, w, 3) uint8."""


def segment_any_turn(segment: Segment, image: np.ndarray) -> Segmentation:
    """The prediction at the best quarter turn, turned back to `image`: RGB (h, w, 3) uint8."""
    best = segment(image)
    bar = sureness(best) + MARGIN
    for turns in (1, 2, 3):
        found = segment(np.rot90(image, turns).copy())
        if (sure := sureness(found)) > bar:
            best, bar = _turned_back(found, turns), sure
    return best


def sureness(found: Segmentation) -> float:
    """Mean over the foreground of the largest probability of a leaf of the body; 0 without any."""
    inside = found.labels != BACKGROUND
    if not inside.any():
        return 0.0
    return float(found.leaf_probabilities[found.tree.foreground_rows].max(0)[inside].mean())


def _turned_back(found: Segmentation, turns: int) -> Segmentation:
    return replace(
        found,
        labels=np.rot90(found.labels, -turns).copy(),
        leaf_probabilities=np.rot90(found.leaf_probabilities, -turns, (1, 2)).copy(),
    )
