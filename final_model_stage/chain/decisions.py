"""From the predictions of the experts to leaves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.dataset.class_tree import ClassTree, Node
from train_stage.node_split import EPS, most_probable

Conditionals = dict[str, Tensor]
"""Expert name -> (children, h, w) float32: probability of each child, given the expert's node."""


def averaged_over_ancestors(
    before: Tensor, predicted: Tensor, rows: Tensor, weight: Tensor
) -> Tensor:
    """Probabilities of all leaves, an expert's averaged with its ancestors', (leaves, h, w).

    before: (leaves, h, w), the mean over the experts above. rows: (own leaves,) of the expert's
    among them. predicted: (own leaves, h, w) given the expert's node; of an expert that rejects
    (own leaves + 1, h, w), the last that of none of them, which goes to the other leaves in
    proportion to what they had. weight: (h, w), of the expert in the mean; 0 outside its region,
    where nothing changes.
    """
    # Products with 0 and 1, since ONNX Runtime copies everything twice to set some rows.
    own = F.one_hot(rows, len(before)).to(before.dtype)
    inside = own.sum(0)[:, None, None]
    if len(predicted) == len(rows):
        kept = before * (1 - inside)
        predicted = predicted * (before - kept).sum(0)
    else:
        others = (before + EPS) * (1 - inside)
        kept = others * (predicted[-1] / others.sum(0))
    new = kept + torch.einsum("ol,ohw->lhw", own, predicted[: len(rows)])
    return before + weight * (new - before)


def resize(conditionals: Conditionals, size: tuple[int, int]) -> Conditionals:
    """Conditionals scaled, bilinear, to (children, *size)."""
    return {
        name: F.interpolate(values[None], size, mode="bilinear")[0]
        for name, values in conditionals.items()
    }


def decide(tree: ClassTree, conditionals: Conditionals, mode: str) -> Tensor:
    """Leaf ids (h, w) uint8.

    mode: hard = from the root down, the most probable child of the node chosen last; product = the
    leaf with the largest product of conditionals along its path.
    """
    if mode == "hard":
        return _hard(tree.root, conditionals)
    [any_of_its_device, *_] = conditionals.values()
    ids = torch.tensor([leaf.id for leaf in tree.leaves], dtype=torch.uint8)
    ids = ids.to(any_of_its_device.device)
    return ids[most_probable(leaf_probabilities(tree, conditionals))]


def leaf_probabilities(tree: ClassTree, conditionals: Conditionals) -> Tensor:
    """(leaves, h, w) float32: products of the conditionals on the path to each leaf."""
    reached = {tree.root.name: torch.ones_like(conditionals[tree.root.name][0])}
    for name in tree.experts:
        for child, conditional in zip(tree[name].children, conditionals[name], strict=True):
            reached[child.name] = reached[name] * conditional
    return torch.stack([reached[leaf.name] for leaf in tree.leaves])


def _hard(node: Node, conditionals: Conditionals) -> Tensor:
    """Leaf ids (h, w) uint8 for pixels of a node."""
    if node.id is not None:
        [any_of_its_size, *_] = conditionals.values()
        return torch.full_like(any_of_its_size[0], node.id, dtype=torch.uint8)
    chosen = most_probable(conditionals[node.name])
    labels, *others = (_hard(child, conditionals) for child in node.children)
    for k, other in enumerate(others, 1):
        labels = torch.where(chosen == k, other, labels)
    return labels
