"""The method: from the root of the class tree down to its leaves, for one image.

`descend` says which views it needs and gets their probabilities back, so that the segmenter can
predict the views of several images in one batch, and an export can record those of one image.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from final_model_stage.chain.decisions import (
    Conditionals,
    averaged_over_ancestors,
    most_probable,
)
from final_model_stage.chain.settings import Settings
from final_model_stage.chain.views import View
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from train_stage.node_split import NodeSplit
from train_stage.regions import clip_box, end_squares, inside_box, region_box, whole_image

Views = Generator[View, Tensor, Tensor]
"""Yields views, is sent their probabilities (leaves, h, w), returns those of the image."""


class Chain:
    """What the experts of a segmenter are asked for, and what follows from their predictions."""

    def __init__(self, settings: Settings, *, traced: bool = False) -> None:
        """traced: whether a graph is recorded, which has no branches: every view is predicted,
        and what it finds in an empty region is not used."""
        self.settings, self.traced = settings, traced
        self.tree = ClassTree(settings.tree)
        self.splits = {name: NodeSplit.of(self.tree, name) for name in self.tree.experts}
        self.rows = {name: torch.tensor(self.tree.rows(name)) for name in self.tree.experts}
        children = [child.id for child in self.tree.root.children]
        self.background = children.index(BACKGROUND) if BACKGROUND in children else None
        """Index of the background among the root's children."""

    def descend(
        self,
        height: int,
        width: int,
        oracle: Mapping[str, Tensor] | None = None,
        root: Tensor | None = None,
    ) -> Generator[View, Tensor, Conditionals]:
        """Each expert sees the region that its parent predicted, and no other pixel.

        The leaf probabilities go down with the regions: first those of the root, then each expert
        averages its own with them, inside its region. So all experts on the way to a pixel count
        alike there.

        oracle: conditionals (children, h, w) that replace those of the experts they name.
        root: leaf probabilities (leaves, h, w) of the root expert, if they are there already.
        """
        probabilities = torch.full((len(self.tree.leaves), height, width), 1.0)
        probabilities = probabilities / len(self.tree.leaves)
        regions = {self.tree.root.name: torch.ones(height, width, dtype=torch.bool)}
        conditionals: Conditionals = {}
        for name in self.tree.experts:
            region, split, rows = regions[name], self.splits[name], self.rows[name]
            own = probabilities[rows]
            if self._is_needed(region):
                if name != self.tree.root.name:
                    predicted = yield View(name, region, self._box(name, region))
                elif root is None:
                    predicted = yield from self.root_views(height, width)
                else:
                    predicted = root
                experts_above = self.tree.level_of(name) + 1
                own = averaged_over_ancestors(own, predicted, region, experts_above)
                probabilities = probabilities.index_copy(0, rows, own)
            conditionals[name] = (oracle or {}).get(name, split.conditionals(own))
            chosen = most_probable(conditionals[name])
            for k, child in enumerate(self.tree[name].children):
                # Where the truth is ignored, an oracle gives no child a share.
                regions[child.name] = region & (chosen == k) & (conditionals[name][k] > 0)
        return conditionals

    def root_views(self, height: int, width: int) -> Views:
        """Leaf probabilities of the root expert; predictions of all views that cover a pixel are
        averaged.

        First the whole image, squeezed into a square. With `tta_views` also undistorted squares at
        both ends of its longer side, and the box around the foreground found so far, in which
        small people are large.
        """
        root = self.tree.root.name
        everywhere = torch.ones(height, width, dtype=torch.bool)
        total = yield View(root, everywhere, whole_image(height, width))
        if self.settings.tta_views:
            oblong = torch.scalar_tensor(height) != torch.scalar_tensor(width)
            for box in end_squares(height, width):
                covered = inside_box(box, height, width) & oblong
                if self._is_needed(covered):
                    total = total + covered * (yield View(root, everywhere, box))
            if self.background is not None:
                root_split = self.splits[root].conditionals(total)
                foreground = most_probable(root_split) != self.background
                box = clip_box(self._box(root, foreground), height, width)
                left, top, right, bottom = box.unbind()
                area = (right - left) * (bottom - top)
                is_close = area < self.settings.closer_view_max_area * height * width
                covered = inside_box(box, height, width) & is_close & foreground.any()
                if self._is_needed(covered):
                    total = total + covered * (yield View(root, everywhere, box))
        return total / total.sum(0)

    def _box(self, name: str, region: Tensor) -> Tensor:
        expert = self.settings.experts[name]
        return region_box(region, expert.box_margin, expert.max_box_aspect)

    def _is_needed(self, region: Tensor) -> bool:
        return self.traced or bool(region.any())
