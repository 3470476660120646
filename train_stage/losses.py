"""Loss of an expert. Every term is a mean over samples of a figure of one sample, so several
processes with equal shares of a batch average to the gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.dataset.class_tree import IGNORE
from train_stage.node_split import NodeSplit


def class_weights(pixels: Sequence[int], power: float) -> Tensor:
    """Weights (C,) float32 with mean 1 over the classes that occur: pixels ** -power.

    A class without pixels gets 0.
    """
    counts = torch.tensor(pixels, dtype=torch.float64)
    present = counts > 0
    weights = torch.where(present, counts.clamp(min=1) ** -power, 0.0)
    return (weights * present.sum() / weights.sum()).float()


@dataclass(frozen=True)
class WeightedSplit(NodeSplit):
    """A split with the class weights of its loss."""

    leaf_weights: Tensor | None
    """(leaves,) float32; None: leaves are not told apart."""
    child_weights: Tensor
    """(children,) float32."""

    def with_rejected(self) -> WeightedSplit:
        """With what is none of the leaves as one more leaf, a child of its own, of mean weight."""
        leaves = F.pad(self.leaves, (0, 1, 0, 1))
        leaves[-1, -1] = True
        one, own = torch.ones(1), self.leaf_weights
        leaf_weights = None if own is None else torch.cat([own, one])
        return WeightedSplit(leaves, leaf_weights, torch.cat([self.child_weights, one]))

    def to(self, device: torch.device | None) -> WeightedSplit:
        own = self.leaf_weights
        leaf_weights = None if own is None else own.to(device)
        return WeightedSplit(self.leaves.to(device), leaf_weights, self.child_weights.to(device))


def expert_loss(logits: Tensor, target: Tensor, split: WeightedSplit, dice_weight: float) -> Tensor:
    """Weighted cross-entropy + dice_weight x soft Dice, of the leaves and, where children have
    several, of the children as well; of the children alone without leaf weights; a scalar.

    logits: (B, leaves, S, S) float. target: (B, S, S) long, index of the leaf or 255 = ignored.
    """
    tasks = []
    if split.leaf_weights is not None:
        tasks.append((logits, target, split.leaf_weights))
    if split.leaf_weights is None or len(split.child_weights) < len(split.leaf_weights):
        tasks.append((split.children(logits), split.child_of(target), split.child_weights))
    losses = [cross_entropy(*task) + dice_weight * dice(*task[:2]) for task in tasks]
    return torch.stack(losses).sum(0).mean()


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
