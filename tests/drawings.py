"""Photographs of coloured blocks, label maps of bands, and what is seen in a figure of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from final_model_stage.pictures import Row, save
from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.dataset_folder import read_image

SECTION = {"root": {"background": 0, "thing": {"top": {"cap": 1, "stem_a": 2}, "foot": 7}}}
TREE = ClassTree(SECTION)


def photograph(seed: int = 0, size: tuple[int, int] = (30, 40)) -> np.ndarray:
    """(H, W, 3) uint8 blocks of colour that nobody may write to."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = np.array(Image.fromarray(blocks).resize(size[::-1], Image.Resampling.NEAREST))
    image.flags.writeable = False
    return image


def bands(size: tuple[int, int] = (30, 40), ignored: bool = False) -> np.ndarray:
    """(H, W) uint8, from left to right background, cap, stem_a and foot; read-only."""
    ids = np.array([255 if ignored else 0, 1, 2, 7], np.uint8)
    labels = np.tile(ids.repeat(size[1] // 4), (size[0], 1))
    labels.flags.writeable = False
    return labels


def row(sample: str = "one", truth: bool = True, ignored: bool = False) -> Row:
    return Row(sample, photograph(), bands(), bands(ignored=ignored) if truth else None)


def pixels(figure: Figure, path: Path, dpi: int = 80) -> np.ndarray:
    save(figure, path, dpi, levels=256)
    return read_image(path)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text()]
