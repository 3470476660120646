"""Label maps laid over photographs."""

from __future__ import annotations

import numpy as np

from preprocessing_stage.dataset.class_tree import BACKGROUND, IGNORE
from preprocessing_stage.dataset.colours import LUMA


def overlay(
    image: np.ndarray, labels: np.ndarray, table: np.ndarray, opacity: float = 0.62
) -> np.ndarray:
    """Photograph with its classes coloured and outlined, (H, W, 3) uint8.

    Below the colours it is gray, so that they stay those of the legend; the background keeps some
    of its own colour but is paler; ignored pixels are hatched.

    image: (H, W, 3) uint8. labels: (H, W) uint8 leaf ids. table: (256, 3) uint8, id -> RGB; ids
    of one colour are one class. opacity: of the colours, 0 to 1.
    """
    photograph = image.astype(np.float32)
    gray = photograph @ np.array(LUMA, np.float32).reshape(3, 1)  # (H, W, 1)
    pale = 0.42 * gray + 0.28 * photograph + 0.30 * 255
    covered = (1 - opacity) * (60 + 0.76 * gray) + opacity * table[labels]
    picture = np.where(labels[..., None] == BACKGROUND, pale, covered)
    y, x = np.indices(labels.shape)
    picture[(labels == IGNORE) & ((x + y) // 4 % 2 == 0)] *= 0.7
    picture[_outlines(labels, table)] *= 0.45
    return picture.round().astype(np.uint8)


def _outlines(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Foreground pixels (H, W) bool with a neighbour of another colour."""
    colours = table[labels].astype(np.int32) @ [1 << 16, 1 << 8, 1]
    padded = np.pad(colours, 1, mode="edge")
    differs = np.zeros(labels.shape, bool)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        differs |= neighbour != colours
    result: np.ndarray = differs & (labels != BACKGROUND) & (labels != IGNORE)
    return result
