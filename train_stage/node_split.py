"""How the leaves that an expert predicts make up the children of its node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree

EPS = 1e-12
"""Probabilities are divided by this at least: a node may be left without any."""


@dataclass(frozen=True)
class NodeSplit:
    """The split that an expert makes, with the leaves in the order of their ids."""

    leaves: Tensor
    """(children, leaves) bool: which leaves lie in which child."""

    @staticmethod
    def of(tree: ClassTree, expert: str) -> NodeSplit:
        return NodeSplit(torch.from_numpy(tree.leaves_of_children(expert)))

    def children(self, logits: Tensor) -> Tensor:
        """Logits of the children (B, children, S, S) from those of the leaves: a child is as
        likely as its leaves together."""
        return torch.stack([logits[:, own].logsumexp(1) for own in self.leaves], 1)

    def child_of(self, target: Tensor) -> Tensor:
        """Index of the child from that of the leaf, any shape, long; 255 stays."""
        child = self.leaves.int().argmax(0)
        valid = target != IGNORE
        return torch.where(valid, child[target * valid], IGNORE)

    def conditionals(self, leaves: Tensor) -> Tensor:
        """Probability of each child given the node, (children, h, w), from that of its leaves."""
        sums = torch.stack([leaves[own].sum(0) for own in self.leaves])
        return sums / leaves.sum(0).clamp(min=EPS)
