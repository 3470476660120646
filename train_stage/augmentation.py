"""Random change of a training sample: where the frame lies, and which colours it has."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colour

from train_stage.params import AugmentationParams
from train_stage.regions import box_frame


def random_frame(box: Tensor, params: AugmentationParams, rng: np.random.Generator) -> Tensor:
    """A frame (2, 3) near a box (4,): cropped, stretched, turned, mirrored."""
    left, top, right, bottom = box.tolist()
    # Areas of crops are uniform; a side is their square root.
    share = math.sqrt(rng.uniform(params.min_crop_scale**2, params.max_crop_scale**2))
    stretch = math.exp(rng.uniform(-1, 1) * math.log1p(params.aspect) / 2)
    angle = math.radians(rng.uniform(-params.rotation, params.rotation))
    mirror = -1.0 if rng.random() < params.flip else 1.0
    width, height = (right - left) * share * stretch, (bottom - top) * share / stretch
    x = (left + right) / 2 + rng.uniform(-0.5, 0.5) * abs(right - left - width)
    y = (top + bottom) / 2 + rng.uniform(-0.5, 0.5) * abs(bottom - top - height)
    frame = box_frame(torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2]))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    # Turn in pixels, so that nothing is sheared where the box is not square.
    frame[:, :2] = turn @ frame[:, :2]
    frame[:, 0] *= mirror
    return frame


def random_colours(
    image: Tensor, params: AugmentationParams, gray_share: float, rng: np.random.Generator
) -> Tensor:
    """Image (3, S, S) float in 0..1 with other brightness, contrast and saturation.

    gray_share: probability that all colour goes.
    """
    brightness, contrast, saturation = rng.uniform(-1, 1, 3)
    gray = rng.random() < gray_share
    image = colour.adjust_brightness(image, 1 + brightness * params.brightness)
    image = colour.adjust_contrast(image, 1 + contrast * params.contrast)
    result: Tensor = colour.adjust_saturation(
        image, 0 if gray else 1 + saturation * params.saturation
    )
    return result
