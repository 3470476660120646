"""The method: the experts chained into one segmenter, from the root of the class tree down.

`final_model_stage.torch_segmenter` runs it with PyTorch, `final_model_stage.onnx_segmenter` a graph
that was recorded of it.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from math import ceil

import torch
from torch import Tensor

from final_model_stage.chain.decisions import averaged_over_ancestors
from final_model_stage.chain.settings import Settings
from final_model_stage.chain.views import View
from preprocessing_stage.dataset.class_tree import BACKGROUND
from train_stage.node_split import NodeSplit, most_probable, region_of
from train_stage.regions import (
    clip_box,
    dilate,
    end_squares,
    inside_box,
    region_box,
    whole_image,
)

Views = Generator[View, Tensor, Tensor]
"""Yields views, is sent their leaf probabilities (leaves, h, w), returns those of the image."""


class Chain:
    """The way of one image from the root to the leaves.

    Its generators yield the views that they need and are sent their leaf probabilities. Whoever
    drives them runs the experts: `chain.runner` on several images at a time, `deploy.export`
    while it records a graph.
    """

    def __init__(
        self, settings: Settings, *, traced: bool = False, device: torch.device | None = None
    ) -> None:
        """traced: whether a graph is recorded, which has no branches: every view is predicted,
        and what it finds in an empty region is not used. device: of the views, None = the CPU;
        whoever drives the chain also makes it torch's default device."""
        self.settings, self.traced = settings, traced
        self.tree = settings.class_tree
        experts = self.tree.experts
        self.splits = {name: NodeSplit.of(self.tree, name).to(device) for name in experts}
        self.rows = {name: torch.tensor(self.tree.rows(name), device=device) for name in experts}
        children = [child.id for child in self.tree.root.children]
        self.background = children.index(BACKGROUND) if BACKGROUND in children else None
        """Index of the background among the root's children."""

    def descend(
        self,
        height: int,
        width: int,
        possible: Tensor | None = None,
        root: Tensor | None = None,
    ) -> Views:
        """Each expert sees the region that its parent predicted, and no other pixel.

        The leaf probabilities go down with the regions: first those of the root, then each expert
        averages its own with them, inside its region. So all experts on the way to a pixel count
        alike there, and each view of the root like one. An expert that rejects may send pixels
        back: their share goes to the leaves of other nodes.

        height, width: of the reduced image. possible: (leaves, h, w) bool on the grid, leaves that
        an oracle leaves open; regions do not reach beyond them. root: what `root_views` returned
        for the image, if that is there already.
        Returns the leaf probabilities on the grid, also of leaves that are not possible.
        """
        total = root
        if total is None:
            total = yield from self.root_views(height, width)
        votes = total.sum(0)
        probabilities = total / votes
        for name in self.tree.experts[1:]:
            expert = self.settings.experts[name]
            region = region_of(self.tree, name, partial(self._children, probabilities, possible))
            grown = ceil(expert.region_dilation / self.settings.grid_stride)
            region = dilate(region[None, None], grown)[0, 0]
            if possible is not None:
                region = region & self._leaves(possible, name).any(0)
            if self._is_needed(region):
                told = self._leaves(probabilities, name) if expert.model.parent_channels else None
                box = self._box(name, region)
                predicted = yield View(name, region, box, region, told)
                # The weight of one more in a running mean; without `average_ancestors` that of all.
                above = votes if self.settings.average_ancestors else 0
                probabilities = averaged_over_ancestors(
                    probabilities, predicted, self.rows[name], region / (above + 1)
                )
                votes = votes + region
        return probabilities

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the grid on which the probabilities of a reduced image are kept: the
        experts see finer than they answer."""
        stride = self.settings.grid_stride
        return (height + stride - 1) // stride, (width + stride - 1) // stride

    def _leaves(self, probabilities: Tensor, name: str) -> Tensor:
        """Of all leaves those that an expert predicts."""
        return probabilities.index_select(0, self.rows[name])

    def _children(self, probabilities: Tensor, possible: Tensor | None, name: str) -> Tensor:
        """(children, h, w) of an expert's node."""
        if possible is not None:
            probabilities = probabilities * possible
        return self.splits[name].summed(self._leaves(probabilities, name))

    def root_views(self, height: int, width: int) -> Views:
        """Leaf probabilities of the root expert, added up over all views that cover a pixel, so
        that their sum is the number of these.

        First the whole image, squeezed into a square. With `tta_views` also undistorted squares at
        both ends of its longer side, and the box around the foreground found so far, in which
        small people are large.

        height, width: of the reduced image.
        """
        root = self.tree.root.name
        height, width = self.grid(height, width)
        everywhere = torch.ones(height, width, dtype=torch.bool)
        total = yield View(root, everywhere, whole_image(height, width), everywhere)
        if self.settings.tta_views:
            oblong = torch.scalar_tensor(height) != torch.scalar_tensor(width)
            for box in end_squares(height, width):
                covered = inside_box(box, height, width) & oblong
                if self._is_needed(covered):
                    total = total + covered * (yield View(root, everywhere, box, covered))
            if self.background is not None:
                foreground = most_probable(self.splits[root].summed(total)) != self.background
                box = clip_box(self._box(root, foreground), height, width)
                left, top, right, bottom = box.unbind()
                area = (right - left) * (bottom - top)
                is_close = area < self.settings.closer_view_max_area * height * width
                covered = inside_box(box, height, width) & is_close & foreground.any()
                if self._is_needed(covered):
                    total = total + covered * (yield View(root, everywhere, box, covered))
        return total

    def _box(self, name: str, region: Tensor) -> Tensor:
        expert = self.settings.experts[name]
        if not expert.zoom:
            return whole_image(*region.shape)
        return region_box(region, expert.box_margin, expert.max_box_aspect)

    def _is_needed(self, region: Tensor) -> bool:
        return self.traced or bool(region.any())
