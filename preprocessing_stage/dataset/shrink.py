"""How images are scaled down, the same for training and for the final segmenter, and label maps."""

from __future__ import annotations

import numpy as np
from PIL import Image


def shrink(image: np.ndarray, longest_side: int) -> np.ndarray:
    """RGB image (H, W, 3) uint8 scaled down, with antialiasing, to `longest_side` at most."""
    size = shrunken_size(image.shape[:2], longest_side)
    if size == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Label map or mask (H, W), uint8, uint16 or bool, scaled to `size`: classes are not mixed.

    `labels` itself if it has that size, else a new array that may be written to.
    """
    if labels.shape == size:
        return labels
    return np.array(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))


def shrunken_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """Height and width of what `shrink` makes of an image of `size`, each at least 1."""
    longest = max(size)
    allowed = min(longest, longest_side)
    # Rounded in whole numbers, halves up, so that an exported chain comes to the same.
    height, width = (max(1, (2 * side * allowed + longest) // (2 * longest)) for side in size)
    return height, width
