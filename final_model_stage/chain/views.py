"""One view of one expert: cropped from the image, predicted, and pasted back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from train_stage.regions import box_frame, unwarp, warp

Network = Callable[[Tensor, Tensor], Tensor]
"""Crops (B, 3, S, S) and masks (B, 1, S, S) -> logits (B, leaves, S, S)."""


@dataclass(frozen=True)
class View:
    """What an expert is to predict: the leaves of its node, within a box of the image."""

    expert: str
    region: Tensor
    """(h, w) bool: every other pixel is zeroed."""
    box: Tensor
    """(4,) float32, left top right bottom."""
    used: Tensor
    """(h, w) bool: where the prediction counts; if nowhere, the expert need not predict."""

    def crop(self, image: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Crop (3, S, S) of an image (3, h, w) in 0..1, and the region's mask (1, S, S).

        centres: (S,) of `regions.pixel_centres`.
        """
        frame = box_frame(self.box)
        mask = warp(self.region[None].float(), frame, centres, "nearest")
        return warp(image, frame, centres), mask

    def paste(self, probabilities: Tensor) -> Tensor:
        """Probabilities (leaves, S, S) of the view as those of the image, (leaves, h, w)."""
        return unwarp(probabilities, self.box, *self.region.shape)


def predict(network: Network, crops: Tensor, masks: Tensor, flip: bool) -> Tensor:
    """Probabilities (B, leaves, S, S), averaged with those of the flipped crops if `flip`."""
    if not flip:
        return network(crops, masks).softmax(1)
    both = network(torch.cat([crops, crops.flip(-1)]), torch.cat([masks, masks.flip(-1)]))
    upright, flipped = both.softmax(1).chunk(2)
    return (upright + flipped.flip(-1)) / 2
