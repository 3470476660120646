"""What a segmenter gives for an image, whatever runs its experts.

segmenter = Segmenter.load("models/segmenter")
labels = segmenter("photograph.jpg")

Nothing here needs PyTorch: on a plain CPU, ONNX Runtime predicts.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from final_model_stage.chain.image_input import ImageInput, to_rgb
from final_model_stage.chain.settings import Settings
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.shrink import nearest
from train_stage.precision import Precision, check_precision

_STARTED = os.getpid()
"""The process that imported this: a spawned one is that itself, a forked one is not."""


@dataclass(frozen=True)
class Segmentation:
    """The prediction for one image of height H and width W."""

    labels: np.ndarray
    """(H, W) uint8 leaf ids."""
    leaf_probabilities: np.ndarray
    """(leaves, H, W) float32 in the order of `tree.leaves`; their sum is 1 everywhere."""
    tree: ClassTree

    @cached_property
    def uncertainty(self) -> np.ndarray:
        """(H, W) float32: entropy of the leaf probabilities over its maximum, from 0 to 1."""
        shares = self.leaf_probabilities
        entropy: np.ndarray = -(shares * np.log(shares.clip(1e-12))).sum(0)
        return entropy / np.float32(np.log(len(self.tree.leaves)))

    def probability(self, name: str) -> np.ndarray:
        """(H, W) float32 of one class: the sum of its leaves."""
        result: np.ndarray = self.leaf_probabilities[self.tree.rows(name)].sum(0)
        return result

    def probabilities(self, level: int) -> dict[str, np.ndarray]:
        """Class name -> (H, W) float32 for the classes of a level. Raises ValueError."""
        if not 0 <= level < self.tree.depth:
            raise ValueError(f"level is {level}; the tree has levels 0 to {self.tree.depth - 1}")
        return {node.name: self.probability(node.name) for node in self.tree.level(level)}


@dataclass(frozen=True)
class SeenView:
    """What an expert saw of an image, a square of side S, and what it predicted."""

    expert: str
    crop: np.ndarray
    """(3, S, S) float32 in 0..1; the expert does not see what lies outside the mask."""
    mask: np.ndarray
    """(S, S) bool: the pixels of the region."""
    probabilities: np.ndarray
    """(leaves, S, S) float32 of its leaves, and perhaps of none of them, averaged over flips and
    samples."""


Watcher = Callable[[SeenView], None]


class Segmenter(ABC):
    """A chain of experts, from the root of the class tree down to its leaves."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tree = settings.class_tree
        self._process = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_process": _STARTED})

    @staticmethod
    def load(
        path: Path | str,
        precision: Precision = "auto",
        *,
        fast: bool = False,
        device: str | None = None,
    ) -> Segmenter:
        """The segmenter in a folder, run by PyTorch on a GPU, elsewhere by ONNX Runtime, which
        starts sooner, if the folder holds graphs for it.

        fast: one view by each expert, without test-time augmentation, whatever the settings say.
        device: of PyTorch; None = a GPU where there is one.
        Raises OSError; ValueError if the folder's files do not fit, or for another precision;
        ImportError where it takes a package that is not installed.
        """
        check_precision(precision)
        from final_model_stage.onnx_segmenter import OnnxSegmenter, prefers_onnx

        if prefers_onnx(Path(path), precision, fast, device):
            return OnnxSegmenter.of_folder(path, fast=fast)
        from final_model_stage.torch_segmenter import TorchSegmenter

        return TorchSegmenter.load(path, precision, fast=fast, device=device)

    def __call__(self, image: ImageInput) -> np.ndarray:
        """Leaf ids (H, W) uint8 of an image: RGB (H, W, 3) uint8, a PIL image, or a file's path.

        Raises ValueError for an image that cannot be read, TypeError for anything else.
        """
        pixels, size = to_rgb(image)
        [labels] = self.label_maps([pixels])
        return nearest(labels, size)

    def segment(self, image: ImageInput, watch: Watcher | None = None) -> Segmentation:
        """Leaf ids with probabilities and uncertainty; of a file, sides up to 2,048 pixels.

        watch: is called with each view that an expert predicts. Raises ValueError in ONNX Runtime
        with `fast`, for which no graph is recorded that gives the views.
        """
        pixels, _ = to_rgb(image)
        self._check([pixels])
        return self._segment(pixels, watch)

    def label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Leaf ids (H, W) uint8 of each RGB image (H, W, 3) uint8. Raises ValueError."""
        self._check(images)
        return self._label_maps(images)

    @abstractmethod
    def _label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]: ...

    @abstractmethod
    def _segment(self, image: np.ndarray, watch: Watcher | None) -> Segmentation: ...

    def _check(self, images: Sequence[np.ndarray]) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                "this process was forked after the segmenter was loaded, and its threads would be "
                "waited for for ever; load the segmenter in the process itself, or start it with "
                "`spawn`"
            )
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(
                    f"image is {image.dtype} {image.shape}, needs RGB, uint8 (height, width, 3)"
                )
