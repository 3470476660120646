"""One view of one expert: cropped from the image, predicted, and pasted back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from train_stage.node_split import EPS
from train_stage.regions import box_frame, unwarp, warp

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Crops (B, 3, S, S), masks (B, 1, S, S) and, if it gets them, the parent's probabilities
(B, leaves, S, S) -> logits (B, leaves, s, s), perhaps of a lower resolution."""


@dataclass(frozen=True)
class View:
    """What an expert is to predict: the leaves of its node, within a box of the image."""

    expert: str
    region: Tensor
    """(h, w) bool on the chain's grid: every other pixel is zeroed."""
    box: Tensor
    """(4,) float32, left top right bottom, on the grid."""
    used: Tensor
    """(h, w) bool: where the prediction counts; if nowhere, the expert need not predict."""
    parent: Tensor | None = None
    """(leaves, h, w) float32: what the experts above predict of its leaves, if it is told."""

    def crop(self, image: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Crop (3, S, S) of an image (3, H, W) in 0..1, the region's mask (1, S, S), and the
        parent's probabilities (leaves, S, S).

        The image is as fine as the grid or finer. centres: (S,) of `regions.pixel_centres`.
        """
        frame = box_frame(self.box)[None]
        mask = warp(self.region[None, None].float(), frame, centres, "nearest")
        (height, width), (rows, columns) = image.shape[1:], self.region.shape
        finer = torch.stack([torch.scalar_tensor(n) for n in (width / columns, height / rows)])
        crop = warp(image[None], frame * finer[:, None], centres)
        if self.parent is None:
            return crop[0], mask[0], None
        return crop[0], mask[0], warp(self.parent[None], frame, centres)[0]

    def paste(self, probabilities: Tensor) -> Tensor:
        """Probabilities (leaves, s, s) of the view as those of the grid, (leaves, h, w).

        It is their logarithms that are interpolated, as in training: edges stay sharp.
        """
        shares = unwarp(logits_of(probabilities), self.box, *self.region.shape).exp()
        return shares / shares.sum(0)


def predict(
    network: Network,
    crops: Tensor,
    masks: Tensor,
    parents: Tensor | None,
    flipped: Sequence[int] | None,
) -> Tensor:
    """Probabilities (B, leaves, s, s), averaged with those of the flipped crops.

    flipped: for each leaf the place of the leaf that it is in a flipped image; None = no flip.
    """
    if flipped is None:
        return network(crops, masks, parents).softmax(1)

    def flip(x: Tensor) -> Tensor:
        """Of probabilities, perhaps with that of no leaf after them."""
        places = [*flipped, *range(len(flipped), x.shape[1])]
        return x.flip(-1) if places == sorted(places) else x.flip(-1)[:, places]

    told = None if parents is None else torch.cat([parents, flip(parents)])
    crops, masks = (torch.cat([x, x.flip(-1)]) for x in (crops, masks))
    upright, other = network(crops, masks, told).softmax(1).chunk(2)
    return (upright + flip(other)) / 2


def logits_of(probabilities: Tensor) -> Tensor:
    """Of any shape; their softmax is the probabilities."""
    return probabilities.clamp(min=EPS).log()


def at_size_of(crops: Tensor, probabilities: Tensor) -> Tensor:
    """Probabilities (B, leaves, s, s) of crops (B, 3, S, S) as (B, leaves, S, S), to be shown."""
    logits = F.interpolate(logits_of(probabilities), crops.shape[2:], mode="bilinear")
    return logits.softmax(1)
