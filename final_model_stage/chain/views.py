"""Where the root expert looks again once it has seen the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from final_model_stage.chain.decisions import NodeLeaves, likeliest
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from train_stage.regions import box_area, clip_box, region_box

SECOND_LOOK_SHARE = 0.7
"""Of the image's area: a box around the foreground that is larger gets no look of its own."""


def end_squares(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes (4,) float32 of the squares at both ends of an image's longer side."""
    side = torch.sym_min(height, width)
    edges = (0, 0, side, side), (width - side, height - side, width, height)
    first, last = (torch.stack([torch.scalar_tensor(edge) for edge in box]) for box in edges)
    return first, last


def closer_box(belief: Tensor, tree: ClassTree, node: NodeLeaves, margin: float) -> Tensor | None:
    """Box (4,) around the foreground by what is believed of the leaves, (leaves, h, w).

    node: of the root expert. None if there is no foreground, or if it fills the image, or
    without a background.
    """
    background = [child.id == BACKGROUND for child in tree.root.children]
    if not any(background):
        return None
    foreground = likeliest(node.split(belief)) != background.index(True)
    if not foreground.any():
        return None
    box = clip_box(region_box(foreground, margin), *foreground.shape)
    return box if box_area(box) < SECOND_LOOK_SHARE * foreground.numel() else None
