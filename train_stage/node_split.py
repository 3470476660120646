"""How the leaves that an expert predicts make up the children of its node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree

EPS = 1e-12
"""What a probability is at least where it divides, or its logarithm is taken."""


@dataclass(frozen=True)
class NodeSplit:
    """The split that an expert makes, with the leaves in the order of their ids."""

    leaves: Tensor
    """(children, leaves) bool: which leaves lie in which child."""

    def to(self, device: torch.device | None) -> NodeSplit:
        return NodeSplit(self.leaves.to(device))

    @staticmethod
    def of(tree: ClassTree, expert: str) -> NodeSplit:
        return NodeSplit(torch.from_numpy(tree.leaves_of_children(expert)))

    def children(self, logits: Tensor) -> Tensor:
        """Logits of the children (B, children, S, S) from those of the leaves: a child is as
        likely as its leaves together."""
        return torch.stack([logits.index_select(1, own).logsumexp(1) for own in self._indices], 1)

    @cached_property
    def _indices(self) -> list[Tensor]:
        """Of each child's leaves."""
        return [own.nonzero()[:, 0] for own in self.leaves]

    def child_of(self, target: Tensor) -> Tensor:
        """Index of the child from that of the leaf, any shape, long; 255 stays."""
        child = self.leaves.int().argmax(0)
        valid = target != IGNORE
        return torch.where(valid, child[target * valid], IGNORE)

    def summed(self, leaves: Tensor) -> Tensor:
        """Probability of each child, (children, h, w), from (leaves, h, w) of its leaves."""
        return torch.einsum("cl,lhw->chw", self.leaves.to(leaves.dtype), leaves)


def most_probable(probabilities: Tensor) -> Tensor:
    """Index (h, w) int64 of the largest of (children, h, w).

    `argmax` over a first dimension takes 5 to 10 times as long (torch 2.14.1 on a CPU).
    """
    return probabilities.max(0).indices


def region_of(tree: ClassTree, name: str, children: Callable[[str], Tensor]) -> Tensor:
    """(h, w) bool: where each decision on the way from the root leads to a node below it.

    children: of a node's name, the probabilities of its children (children, h, w), up to a factor.
    """
    region: Tensor | None = None
    while (parent := tree.parent(name)) is not None:
        given = children(parent.name)
        place = [child.name for child in parent.children].index(name)
        # Where an oracle leaves nothing open, no child has a share.
        chosen = (most_probable(given) == place) & (given[place] > 0)
        region, name = chosen if region is None else region & chosen, parent.name
    assert region is not None
    return region
