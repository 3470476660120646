"""Photographs much larger than a segmenter's input, in which people are small.

A segmenter scales a photograph down to the side it was trained at: in a panorama nobody is left.
Here it sees the whole, and overlapping squares of it one at a time; their leaf probabilities are
averaged with weights that fall off towards the edges of a square, so there are no seams. Memory is
that of three predictions of the whole, however many squares there are.
"""

from __future__ import annotations

import numpy as np

from deploy.predict.turns import Segment
from final_model_stage.image_reader import WORK_SIDE
from final_model_stage.segmentation import Segmentation

SIDES = (512, 768)
"""Pixels of the squares, less where the photograph is not as high: people then fit into one. Small
ones find the people of a crowd, large ones see more of a person who is near."""
PIXELS = 2 * WORK_SIDE**2
"""That photographs are scaled down to; they bound the memory. Without squares a side of WORK_SIDE
is enough, with them people would be no larger for it."""
WHOLE = 0.25
"""Weight of the prediction for the whole beside that of the squares: enough for people larger
than a square, too little to overrule the squares where the whole sees nobody."""

MIN_SIDE = 64
"""Pixels of the shorter side; a narrower strip shows nobody and has thousands of squares."""
OBLONG = 3
"""Sides to one another from which on many people are missed without squares."""


def segment_tiles(segment: Segment, image: np.ndarray) -> Segmentation:
    """The prediction for `image`, RGB (h, w, 3) uint8; as it is if that is no longer than a square,
    or narrower than MIN_SIDE.

    A pixel's label is the leaf of the largest average, whatever the segmenter's `mode`.
    """
    whole = segment(image)
    height, width = image.shape[:2]
    sides = {min(side, height, width) for side in SIDES if max(height, width) > side}
    if not sides or min(height, width) < MIN_SIDE:
        return whole
    values = WHOLE * whole.leaf_probabilities
    for side in sorted(sides):
        values += _in_squares(segment, image, side, len(whole.tree.leaves)) / len(sides)
    values /= 1 + WHOLE
    ids = np.array([*whole.tree.leaf_names], np.uint8)
    return Segmentation(ids[values.argmax(0)], values, whole.tree)


def _in_squares(segment: Segment, image: np.ndarray, side: int, leaves: int) -> np.ndarray:
    """Leaf probabilities (leaves, h, w) float32, averaged over squares of `side`."""
    height, width = image.shape[:2]
    total = np.zeros((leaves, height, width), np.float32)
    weights = np.zeros((height, width), np.float32)
    for top in _starts(height, side):
        for left in _starts(width, side):
            place = np.s_[top : top + side, left : left + side]
            weight = np.outer(_ramp(top, side, height), _ramp(left, side, width))
            total[:, *place] += weight * segment(image[place].copy()).leaf_probabilities
            weights[place] += weight
    total /= weights
    return total


def _starts(length: int, side: int) -> list[int]:
    """Where squares of `side` begin, at most half a side apart, the last one at the end."""
    count = 1 + -(-2 * (length - side) // side)
    return [round(k * (length - side) / max(1, count - 1)) for k in range(count)]


def _ramp(start: int, side: int, length: int) -> np.ndarray:
    """Weights (side,) float32 that rise from 0 to 1 and fall again, but not at the image's edge."""
    middle = np.arange(side) + 0.5
    rising = middle if start > 0 else np.full(side, side / 2)
    falling = side - middle if start + side < length else np.full(side, side / 2)
    ramp: np.ndarray = np.minimum(1, np.minimum(rising, falling) / (side / 2))
    return ramp.astype(np.float32)
