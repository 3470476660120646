"""From what the experts said to leaves: beliefs, conditionals, and what is decided."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.dataset.class_tree import ClassTree, Node

EPS = 1e-12
"""Probabilities are divided by this at least: an expert may leave nothing to a node."""

Conditionals = dict[str, Tensor]
"""Expert name -> (children, h, w) float32: probability of each child, given the expert's node."""


@dataclass(frozen=True)
class NodeLeaves:
    """The leaves that an expert names: those of its node, in the order of their ids."""

    rows: Tensor
    """(own leaves,) int64: where they stand among all leaves of the tree."""
    children: Tensor
    """(children, own leaves) bool: which of them lie in which child."""
    above: int
    """Experts between the root and this one, the root among them."""

    @classmethod
    def of(cls, tree: ClassTree, expert: str) -> NodeLeaves:
        rows = torch.tensor(tree.rows(expert))
        children = torch.from_numpy(tree.leaves_of_children(expert))
        return cls(rows, children, tree.level_of(expert) + 1)

    def split(self, belief: Tensor) -> Tensor:
        """Probability of each child, given the node, (children, h, w), from that of its leaves."""
        sums = torch.stack([belief[own].sum(0) for own in self.children])
        return sums / belief.sum(0).clamp(min=EPS)


def revised(belief: Tensor, answer: Tensor, region: Tensor, node: NodeLeaves) -> Tensor:
    """What is believed of an expert's leaves once it has answered, (own leaves, h, w).

    belief: (own leaves, h, w), their sum is what the node is believed to have. answer: of the
    same shape, given the node. The mean over the experts so far, inside the region (h, w).
    """
    total = belief.sum(0).clamp(min=EPS)
    mean = (belief / total * node.above + answer) / (node.above + 1)
    return torch.where(region, total * mean, belief)


def resize(conditionals: Conditionals, size: tuple[int, int]) -> Conditionals:
    """Conditionals scaled, bilinear, to (children, *size)."""
    return {
        name: split
        if split.shape[1:] == size
        else F.interpolate(split[None], size, mode="bilinear")[0]
        for name, split in conditionals.items()
    }


def likeliest(probabilities: Tensor) -> Tensor:
    """Index (h, w) int64 of the largest of (children, h, w).

    `argmax` over a first dimension takes 5 to 10 times as long (torch 2.14.1 on a CPU).
    """
    return probabilities.max(0).indices


def hard_decision(tree: ClassTree, conditionals: Conditionals) -> Tensor:
    """Leaf ids (h, w) uint8: from the root down, the likeliest child of the node decided last."""
    labels = torch.zeros(conditionals[tree.root.name].shape[1:], dtype=torch.uint8)

    def settle(node: Node, region: Tensor) -> None:
        if node.id is not None:
            labels[region] = node.id
            return
        claimed = likeliest(conditionals[node.name])
        for k, child in enumerate(node.children):
            settle(child, region & (claimed == k))

    settle(tree.root, torch.ones_like(labels, dtype=torch.bool))
    return labels


def product_decision(tree: ClassTree, conditionals: Conditionals) -> Tensor:
    """Leaf ids (h, w) uint8: the leaf with the largest product along its path."""
    ids = torch.tensor([leaf.id for leaf in tree.leaves], dtype=torch.uint8)
    return ids[likeliest(leaf_probabilities(tree, conditionals))]


def leaf_probabilities(tree: ClassTree, conditionals: Conditionals) -> Tensor:
    """(leaves, h, w) float32: products of the conditionals on the path to each leaf."""
    reached = {tree.root.name: torch.ones(conditionals[tree.root.name].shape[1:])}
    for name in tree.experts:
        for child, conditional in zip(tree[name].children, conditionals[name], strict=True):
            reached[child.name] = reached[name] * conditional
    return torch.stack([reached[leaf.name] for leaf in tree.leaves])
