"""What an expert looks at: the box around its region, scaled to a square, and back again.

Coordinates are pixels with (0, 0) at the outer corner of the first one, so an image of width
w spans 0..w. A frame is a (2, 3) float32 matrix that takes the square [-1, 1] x [-1, 1], x
first, to such coordinates: where the expert's input lies in the image.
Heights and widths of boxes may be symbolic, so that torch can record what is done with them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ASPECT = 2.0
"""Boxes more oblong than this are widened: squeezed limbs are hard to tell apart."""


def whole_image(height: int, width: int) -> Tensor:
    """Box (4,) float32, left top right bottom, of the whole image: the root expert's."""
    return torch.stack([torch.scalar_tensor(side) for side in (0.0, 0.0, width, height)])


def region_box(region: Tensor, margin: float) -> Tensor:
    """Box (4,) float32, left top right bottom, around a region; of an empty one some box or other.

    region: (h, w) bool. margin: share of the longer side that is added on each side. The box
    may reach over the image's edge; what lies there counts as outside the region.
    """
    left, right = _span(region.any(0))
    top, bottom = _span(region.any(1))
    width, height = right - left, bottom - top
    longer = torch.maximum(width, height)
    pad = margin * longer
    half_width = torch.maximum(width, longer / MAX_ASPECT) / 2 + pad
    half_height = torch.maximum(height, longer / MAX_ASPECT) / 2 + pad
    x, y = (left + right) / 2, (top + bottom) / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height])


def clip_box(box: Tensor, height: int, width: int) -> Tensor:
    """The part of a box (4,) that lies in the image, its edges moved out to whole pixels."""
    left, top, right, bottom = box.unbind()
    return torch.stack(
        [
            left.floor().clamp(min=0),
            top.floor().clamp(min=0),
            torch.minimum(right.ceil(), torch.scalar_tensor(width)),
            torch.minimum(bottom.ceil(), torch.scalar_tensor(height)),
        ]
    )


def box_area(box: Tensor) -> float:
    """Pixels in a box (4,)."""
    left, top, right, bottom = box.tolist()
    return (right - left) * (bottom - top)


def box_slices(box: Tensor) -> tuple[slice, slice]:
    """Rows and columns of a box (4,) of whole pixels."""
    left, top, right, bottom = (int(edge) for edge in box)
    return slice(top, bottom), slice(left, right)


def box_frame(box: Tensor) -> Tensor:
    """The upright frame (2, 3) that covers a box (4,)."""
    left, top, right, bottom = box.unbind()
    zero = torch.zeros_like(left)
    return torch.stack(
        [
            torch.stack([(right - left) / 2, zero, (left + right) / 2]),
            torch.stack([zero, (bottom - top) / 2, (top + bottom) / 2]),
        ]
    )


def warp(image: Tensor, frame: Tensor, size: int, mode: str = "bilinear") -> Tensor:
    """What lies under a frame: (C, h, w) float -> (C, size, size); zero outside the image."""
    height, width = image.shape[-2:]
    theta = frame * torch.tensor([[2 / width], [2 / height]])
    theta = theta - torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    grid = F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    return F.grid_sample(image[None], grid, mode, "zeros", align_corners=False)[0]


def unwarp(values: Tensor, frame: Tensor, height: int, width: int) -> Tensor:
    """Back into the image: (C, S, S) float -> (C, height, width), bilinear.

    Pixels outside the frame get the value of its nearest border; they belong to no region.
    """
    bottom = torch.tensor([[0.0, 0.0, 1.0]])
    inverse = torch.linalg.inv(torch.cat([frame, bottom]))
    pixels = torch.tensor([[width / 2, 0, width / 2], [0, height / 2, height / 2], [0, 0, 1.0]])
    theta = (inverse @ pixels)[:2]
    grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    return F.grid_sample(values[None], grid, "bilinear", "border", align_corners=False)[0]


def _span(present: Tensor) -> tuple[Tensor, Tensor]:
    """First True of a vector and the place after its last one, float32."""
    length = present.shape[0]
    places = torch.arange(length)
    first = torch.where(present, places, length).min()
    last = torch.where(present, places + 1, 0).max()
    # Nothing present: from one end to the other, backwards, which no division minds.
    return torch.minimum(first, last).float(), torch.maximum(first, last).float()
