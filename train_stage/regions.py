"""The geometry of a view: the box around a region, cropped to a square and pasted back.

Coordinates are pixels with (0, 0) at the outer corner of the first one, so an image of width
w spans 0..w. A box is (4,) float32: left, top, right, bottom. A frame is a (2, 3) float32 matrix
that takes the square [-1, 1] x [-1, 1], x first, to such coordinates: where a view lies in the
image. Training, prediction and every exported graph crop and paste with these functions alone, so
heights and widths may be symbolic.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


def whole_image(height: int, width: int) -> Tensor:
    """The box of the whole image."""
    return torch.stack([torch.scalar_tensor(side) for side in (0.0, 0.0, width, height)])


def end_squares(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes of the squares at both ends of an image's longer side."""
    side = torch.sym_min(height, width)
    edges = (0, 0, side, side), (width - side, height - side, width, height)
    first, last = (torch.stack([torch.scalar_tensor(edge) for edge in box]) for box in edges)
    return first, last


def region_box(region: Tensor, margin: float, max_aspect: float) -> Tensor:
    """The box around a region (h, w) bool with its surroundings, see `widen_box`."""
    return widen_box(bounding_box(region), margin, max_aspect)


def bounding_box(region: Tensor) -> Tensor:
    """The box around a region (h, w) bool; an arbitrary one if the region is empty."""
    left, right = _span(region.any(0))
    top, bottom = _span(region.any(1))
    return torch.stack([left, top, right, bottom])


def widen_box(box: Tensor, margin: float, max_aspect: float) -> Tensor:
    """A box with surroundings.

    margin: share of the longer side that is added on each side, so the box may reach over the
    image's edge. max_aspect: a more oblong box is widened first.
    """
    left, top, right, bottom = box.unbind()
    width, height = right - left, bottom - top
    longer = torch.maximum(width, height)
    pad = margin * longer
    half_width = torch.maximum(width, longer / max_aspect) / 2 + pad
    half_height = torch.maximum(height, longer / max_aspect) / 2 + pad
    x, y = (left + right) / 2, (top + bottom) / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height])


def dilate(regions: Tensor, pixels: int) -> Tensor:
    """Regions (B, 1, h, w) bool with all that lies up to so many pixels beside them."""
    if not pixels:
        return regions
    # A sum instead of a maximum: `max_pool2d` takes ten times as long (torch 2.14.1 on a CPU).
    square = torch.ones(1, 1, 2 * pixels + 1, 2 * pixels + 1, device=regions.device)
    return F.conv2d(regions.float(), square, padding=pixels) > 0.5


def clip_box(box: Tensor, height: int, width: int) -> Tensor:
    """The part of a box that lies in the image, its edges moved out to whole pixels."""
    left, top, right, bottom = box.unbind()
    return torch.stack(
        [
            left.floor().clamp(min=0),
            top.floor().clamp(min=0),
            torch.minimum(right.ceil(), torch.scalar_tensor(width)),
            torch.minimum(bottom.ceil(), torch.scalar_tensor(height)),
        ]
    )


def inside_box(box: Tensor, height: int, width: int) -> Tensor:
    """(height, width) bool: the pixels of a box of whole pixels."""
    left, top, right, bottom = box.unbind()
    x, y = torch.arange(width), torch.arange(height)[:, None]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def box_frame(box: Tensor) -> Tensor:
    """The upright frame that covers a box."""
    left, top, right, bottom = box.unbind()
    zero = torch.zeros_like(left)
    return torch.stack(
        [
            torch.stack([(right - left) / 2, zero, (left + right) / 2]),
            torch.stack([zero, (bottom - top) / 2, (top + bottom) / 2]),
        ]
    )


@cache
def pixel_centres(size: int) -> Tensor:
    """(size,) float32: where the pixels of a view's side lie in -1..1."""
    return torch.linspace(-1, 1, size, device="cpu") * (size - 1) / size


def warp(images: Tensor, frames: Tensor, centres: Tensor, mode: str = "bilinear") -> Tensor:
    """The views of images (B, C, h, w) float under frames (B, 2, 3): (B, C, S, S).

    Zero outside the image. centres: (S,) of `pixel_centres`; a graph holds them as a constant,
    since other libraries space them differently by a bit. mode: bilinear or nearest.
    """
    height, width = images.shape[-2:]
    to_x, to_y = 2 / torch.scalar_tensor(width), 2 / torch.scalar_tensor(height)
    (xx, xy, x0), (yx, yy, y0) = (row.unbind(1) for row in frames[..., None, None].unbind(1))
    across, down = centres[None, :], centres[:, None]
    x = across * (xx * to_x) + down * (xy * to_x) + (x0 * to_x - 1)
    y = across * (yx * to_y) + down * (yy * to_y) + (y0 * to_y - 1)
    return F.grid_sample(images, torch.stack([x, y], dim=-1), mode, "zeros", align_corners=False)


def unwarp(values: Tensor, box: Tensor, height: int, width: int) -> Tensor:
    """A view's values (C, s, s) float back in the image: (C, height, width), bilinear.

    box: of the view, whose frame was upright. Pixels outside it get the value of its border.
    """
    left, top, right, bottom = box.unbind()
    size = values.shape[-1]
    rows = _interpolation(height, top, bottom, size)
    columns = _interpolation(width, left, right, size)
    return rows @ (values @ columns.T)


def _interpolation(length: int, start: Tensor, end: Tensor, size: int) -> Tensor:
    """(length, size) float32: what each of `size` values, spread evenly from start to end, counts
    at each of `length` pixels. A product with two such matrices takes a tenth of the time of
    `grid_sample` (ONNX Runtime 1.32 on a CPU)."""
    places = (torch.arange(length) + 0.5 - start) * (size / (end - start)) - 0.5
    distance = places.clamp(0, size - 1)[:, None] - torch.arange(size)
    return (1 - distance.abs()).clamp(min=0)


def _span(present: Tensor) -> tuple[Tensor, Tensor]:
    """First True of a vector and the place after its last one, float32."""
    length = present.shape[0]
    places = torch.arange(length)
    first = torch.where(present, places, length).min()
    last = torch.where(present, places + 1, 0).max()
    # Nothing present: from one end to the other, which no division minds.
    return torch.minimum(first, last).float(), torch.maximum(first, last).float()
