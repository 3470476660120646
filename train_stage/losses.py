"""Loss of an expert. Every term is a mean over samples of a figure of one sample, so several
processes with equal shares of a batch average to the gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.class_tree import IGNORE


def class_weights(pixels: Sequence[int], damping: float) -> Tensor:
    """Weights (C,) float32 with mean 1 over the classes that occur: pixels ** -damping.

    A class without pixels gets 0.
    """
    counts = torch.tensor(pixels, dtype=torch.float64)
    present = counts > 0
    weights = torch.where(present, counts.clamp(min=1) ** -damping, 0.0)
    return (weights * present.sum() / weights.sum()).float()


def expert_loss(logits: Tensor, target: Tensor, weights: Tensor, dice_weight: float) -> Tensor:
    """Weighted cross-entropy + dice_weight x soft Dice, a scalar.

    logits: (B, C, S, S) float. target: (B, S, S) long, 0..C-1 or 255 = ignored.
    """
    return (cross_entropy(logits, target, weights) + dice_weight * dice(logits, target)).mean()


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the pixels of each sample that are not ignored, (B,)."""
    losses = F.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="none")
    valid = target != IGNORE
    total = (weights[target.masked_fill(~valid, 0)] * valid).sum((1, 2))
    return losses.sum((1, 2)) / total.clamp(min=1e-6)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of each sample, (B,), mean over the classes present in its truth.

    Milletari et al., "V-Net" (2016), section 3, with sums instead of squares in the denominator.
    """
    valid = (target != IGNORE)[:, None]
    predicted = logits.softmax(1) * valid
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    true = (target[:, None] == classes).to(predicted.dtype)
    overlap = 2 * (predicted * true).sum((2, 3))
    size = predicted.sum((2, 3)) + true.sum((2, 3))
    present = true.sum((2, 3)) > 0
    losses = (1 - overlap / size.clamp(min=1e-6)) * present
    return losses.sum(1) / present.sum(1).clamp(min=1)
