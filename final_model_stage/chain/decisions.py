"""From the predictions of the experts to leaves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.dataset.class_tree import ClassTree, Node
from train_stage.node_split import EPS, most_probable


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


def resize(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities (leaves, h, w) scaled, bilinear, to (leaves, *size)."""
    return F.interpolate(probabilities[None], size, mode="bilinear")[0]


def decide(tree: ClassTree, probabilities: Tensor, mode: str) -> Tensor:
    """Leaf ids (h, w) uint8 from the probabilities of all leaves (leaves, h, w).

    mode: hard = from the root down, the most probable child of the node chosen last; product = the
    most probable leaf.
    """
    if mode == "hard":
        return _hard(tree, tree.root, probabilities)
    ids = torch.tensor([leaf.id for leaf in tree.leaves], dtype=torch.uint8)
    return ids.to(probabilities.device)[most_probable(probabilities)]


def _hard(tree: ClassTree, node: Node, probabilities: Tensor) -> Tensor:
    """Leaf ids (h, w) uint8 for pixels of a node."""
    if node.id is not None:
        return torch.full_like(probabilities[0], node.id, dtype=torch.uint8)
    children = [probabilities[tree.rows(child.name)].sum(0) for child in node.children]
    chosen = most_probable(torch.stack(children))
    labels, *others = (_hard(tree, child, probabilities) for child in node.children)
    for k, other in enumerate(others, 1):
        labels = torch.where(chosen == k, other, labels)
    return labels
