"""Random change of training samples: where each frame lies, and which colours it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from preprocessing_stage.dataset.colours import LUMA
from train_stage.expert_params import AugmentationParams


@dataclass(frozen=True)
class RandomNumbers:
    """What changes each of B samples, uniform in 0..1."""

    frame: np.ndarray
    """(B, 5) float64."""
    flip: np.ndarray
    """(B,)."""
    colour: np.ndarray
    """(B, 4)."""
    parent: np.ndarray
    """(B,)."""
    paste: np.ndarray
    """(B, 2): whether the foreground of another sample is pasted, and of which."""
    pasted_frame: np.ndarray
    """(B, 5)."""
    pasted_flip: np.ndarray
    """(B,)."""


def random_numbers(seed: int, epochs: Sequence[int], indices: Sequence[int]) -> RandomNumbers:
    """They depend on the seed, the epoch and the sample alone, whoever reads it beside whom."""
    keys = zip(epochs, indices, strict=True)
    streams = (np.random.SeedSequence(seed, spawn_key=key) for key in keys)
    drawn = np.stack([np.random.default_rng(stream).random(19) for stream in streams])
    return RandomNumbers(
        frame=np.delete(drawn[:, :6], 3, axis=1),
        flip=drawn[:, 3],
        colour=drawn[:, 6:10],
        parent=drawn[:, 10],
        paste=drawn[:, 11:13],
        pasted_frame=drawn[:, 13:18],
        pasted_flip=drawn[:, 18],
    )


def random_frames(
    boxes: Tensor, params: AugmentationParams, drawn: np.ndarray, flipped: np.ndarray
) -> Tensor:
    """Frames (B, 2, 3) float32 near boxes (B, 4): cropped, stretched, turned, mirrored.

    drawn: (B, 5) uniform in 0..1. flipped: (B,) bool.
    """
    left, top, right, bottom = boxes.double().numpy().T
    scale, stretch, angle, along_x, along_y = drawn.T
    # Areas of crops are uniform; a side is their square root.
    least, most = params.min_crop_scale**2, params.max_crop_scale**2
    share = np.sqrt(least + (most - least) * scale)
    stretch = np.exp((2 * stretch - 1) * np.log1p(params.aspect) / 2)
    angle = np.radians((2 * angle - 1) * params.rotation)
    sign = np.where(flipped, -1.0, 1.0)
    width, height = (right - left) * share * stretch, (bottom - top) * share / stretch
    x = (left + right) / 2 + (along_x - 0.5) * abs(right - left - width)
    y = (top + bottom) / 2 + (along_y - 0.5) * abs(bottom - top - height)
    # Turned in pixels, so that nothing is sheared where the box is not square.
    cos, sin = np.cos(angle), np.sin(angle)
    rows = [
        [cos * width / 2 * sign, -sin * height / 2, x],
        [sin * width / 2 * sign, cos * height / 2, y],
    ]
    return torch.from_numpy(np.stack([np.stack(row, -1) for row in rows], 1)).float()


def random_colours(
    images: Tensor, params: AugmentationParams, gray_share: float, drawn: np.ndarray
) -> Tensor:
    """Images (B, 3, S, S) float in 0..1 with other brightness, contrast and saturation.

    gray_share: probability that all colour goes. drawn: (B, 4) uniform in 0..1.
    """
    jitter = np.array([params.brightness, params.contrast, params.saturation])
    factors = 1 + (2 * drawn[:, :3] - 1) * jitter
    factors[:, 2] *= drawn[:, 3] >= gray_share
    brightness, contrast, saturation = (
        torch.from_numpy(factors).to(images).T[..., None, None, None].unbind()
    )
    images = (images * brightness).clamp(0, 1)
    mean = _gray(images).mean((1, 2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)
    gray = _gray(images)
    return (gray + (images - gray) * saturation).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    """(B, 1, S, S)."""
    return (images * torch.tensor(LUMA, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)
