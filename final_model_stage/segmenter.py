"""The method: the experts chained into one segmenter, from the root of the class tree down.

`Chain` is the method itself, for one image; `TorchSegmenter` runs it with PyTorch.
`final_model_stage.onnx_segmenter` runs a graph that was recorded of it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from final_model_stage.chain.decisions import (
    Conditionals,
    averaged_over_ancestors,
    decide,
    leaf_probabilities,
    resize,
)
from final_model_stage.chain.files import read_segmenter, write_segmenter
from final_model_stage.chain.runner import Runner
from final_model_stage.chain.settings import Settings
from final_model_stage.chain.views import View
from final_model_stage.segmentation import Precision, Segmentation, Segmenter, Watcher
from preprocessing_stage.dataset.class_tree import BACKGROUND
from preprocessing_stage.dataset.shrink import shrink
from train_stage.model import Expert
from train_stage.node_split import NodeSplit, most_probable, region_of
from train_stage.precision import pick_precision
from train_stage.regions import (
    clip_box,
    dilate,
    end_squares,
    inside_box,
    region_box,
    whole_image,
)

Views = Generator[View, Tensor, Tensor]
"""Yields views, is sent their probabilities (leaves, h, w), returns those of the image."""


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
        oracle: Mapping[str, Tensor] | None = None,
        root: Tensor | None = None,
    ) -> Generator[View, Tensor, Conditionals]:
        """Each expert sees the region that its parent predicted, and no other pixel.

        The leaf probabilities go down with the regions: first those of the root, then each expert
        averages its own with them, inside its region. So all experts on the way to a pixel count
        alike there, and each view of the root like one. An expert that rejects may send pixels
        back: their share goes to the leaves of other nodes.

        height, width: of the reduced image. oracle: conditionals (children, h, w) on the grid that
        replace those of the experts they name; the regions below them are true, and do not grow.
        root: what `root_views` returned for the image, if that is there already.
        Returns the conditionals of every expert, on the grid.
        """
        total = root
        if total is None:
            total = yield from self.root_views(height, width)
        votes = total.sum(0)
        probabilities, oracle = total / votes, oracle or {}
        for name in self.tree.experts[1:]:
            expert = self.settings.experts[name]
            region = region_of(self.tree, name, partial(self._children, probabilities, oracle))
            if (parent := self.tree.parent(name)) and parent.name not in oracle:
                grown = ceil(expert.region_dilation / self.settings.grid_stride)
                region = dilate(region[None, None], grown)[0, 0]
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
        found = {
            name: self.splits[name].conditionals(self._leaves(probabilities, name))
            for name in self.tree.experts
        }
        return found | dict(oracle)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the grid on which the probabilities of a reduced image are kept: the
        experts see finer than they answer."""
        stride = self.settings.grid_stride
        return (height + stride - 1) // stride, (width + stride - 1) // stride

    def _leaves(self, probabilities: Tensor, name: str) -> Tensor:
        """Of all leaves those that an expert predicts."""
        return probabilities.index_select(0, self.rows[name])

    def _children(self, probabilities: Tensor, oracle: Mapping[str, Tensor], name: str) -> Tensor:
        if name in oracle:
            return oracle[name]
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
                root_split = self.splits[root].conditionals(total)
                foreground = most_probable(root_split) != self.background
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


class TorchSegmenter(Segmenter):
    """A segmenter in PyTorch, on any device."""

    def __init__(
        self,
        settings: Settings,
        experts: Mapping[str, Expert],
        precision: Precision = "auto",
        device: str | None = None,
    ) -> None:
        """experts: one for each inner node of the tree. device: None = a GPU where there is one.

        Raises ValueError for an unknown precision.
        """
        super().__init__(settings)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        bf16 = pick_precision(precision, self.device.type) == "bf16-mixed"
        self.chain = Chain(settings, device=self.device)
        self.experts = {name: experts[name] for name in self.tree.experts}
        self.runner = Runner(settings, self.experts, self.device, bf16)

    @staticmethod
    def load(
        path: Path | str,
        precision: Precision = "auto",
        *,
        fast: bool = False,
        device: str | None = None,
    ) -> TorchSegmenter:
        """As `Segmenter.load`, in PyTorch in any case."""
        settings, experts = read_segmenter(Path(path))
        return TorchSegmenter(settings.fast if fast else settings, experts, precision, device)

    def save(self, path: Path | str) -> None:
        """Write `segmenter.json` and a safetensors file for each expert into the folder `path`."""
        write_segmenter(Path(path), self.settings, self.experts)

    def _label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [labels for labels, _ in self.predict(images)]

    def _segment(self, image: np.ndarray, watch: Watcher | None) -> Segmentation:
        [(labels, conditionals)] = self.predict([image], watch=watch)
        probabilities = leaf_probabilities(self.tree, resize(conditionals, labels.shape))
        return Segmentation(labels, probabilities.numpy(), self.tree)

    def predict(
        self,
        images: Sequence[np.ndarray],
        oracle: Sequence[Conditionals] | None = None,
        root: Sequence[Tensor] | None = None,
        watch: Watcher | None = None,
    ) -> list[tuple[np.ndarray, Conditionals]]:
        """Leaf ids (H, W) uint8 of each image, and all conditionals on the chain's grid.

        oracle: per image, at its own size, conditionals that replace those of the experts they
        name. root: what `predict_root` gave for the images, so that it is not predicted again.
        watch: see `segment`.
        """
        self._check(images)
        small = self._reduced(images)
        parents = [
            {
                name: F.interpolate(
                    truth[None].to(self.device),
                    self.chain.grid(*image.shape[1:]),
                    mode="nearest-exact",
                )[0]
                for name, truth in some.items()
            }
            for some, image in zip(oracle or [{}] * len(images), small, strict=True)
        ]
        descents = []
        for i, (image, some) in enumerate(zip(small, parents, strict=True)):
            height, width = image.shape[1:]
            descents.append(self.chain.descend(height, width, some, root[i] if root else None))
        results = []
        for index, conditionals in enumerate(self.runner.run(small, descents, watch)):
            full = resize(conditionals, images[index].shape[:2])
            if oracle:
                full |= {name: truth.to(self.device) for name, truth in oracle[index].items()}
            labels = decide(self.tree, full, self.settings.mode)
            found = {name: values.cpu() for name, values in conditionals.items()}
            results.append((labels.cpu().numpy(), found))
        return results

    def predict_root(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Leaf probabilities of the root expert added up over its views, (leaves, h, w) float32
        on the chain's grid.

        They do not depend on what follows, so `predict` takes them again and again.
        """
        small = self._reduced(images)
        return self.runner.run(small, [self.chain.root_views(*i.shape[1:]) for i in small])

    def _reduced(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(3, h, w) float in 0..1 of each image, no longer than training samples were."""
        small = [shrink(image, self.settings.longest_side) for image in images]
        on_device = (torch.from_numpy(image.copy()).to(self.device) for image in small)
        return [image.permute(2, 0, 1).float() / 255 for image in on_device]
