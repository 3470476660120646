"""How large images are scaled down, the same for training and for the final segmenter."""

from __future__ import annotations

import numpy as np
from PIL import Image


def shrink(image: np.ndarray, longest_side: int) -> np.ndarray:
    """RGB image (H, W, 3) uint8 scaled down, with antialiasing, to `longest_side` at most."""
    size = shrunken_size(image.shape[:2], longest_side)
    if size == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def shrunken_size(size: tuple[int, int], longest_side: int) -> tuple[int, int]:
    """Height and width of what `shrink` makes of an image of `size`, each at least 1."""
    factor = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
