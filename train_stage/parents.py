"""What the experts above one predict: the regions that it is trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import OUT_OF_FOLD
from train_stage.node_split import NodeSplit, region_of
from train_stage.regions import bounding_box, dilate, warp


class ParentPredictions:
    """The region of an expert in each sample of a split, and its leaves' probabilities there, as
    a network that was not trained on the sample predicts them.

    If nothing was predicted, the true region is used, so the expert also learns what its parent
    misses.
    """

    def __init__(
        self,
        split: PackedSplit,
        tree: ClassTree,
        expert: str,
        dilation: int,
        device: torch.device,
    ) -> None:
        """dilation: of the regions, in pixels of the longest sample, rounded up to those of
        the predictions. Raises OSError, UserError."""
        self.split, self.device = split, device
        path = OUT_OF_FOLD / f"{split.rows[0].split}.npy"
        predicted = np.load(path, mmap_mode="r")
        if predicted.shape[:2] != (len(split), len(tree.leaves)):
            raise UserError(
                f"{path}: has {predicted.shape[:2]} samples and leaves instead of "
                f"{(len(split), len(tree.leaves))}; make it again with "
                "`dvc repro -f predict_out_of_fold`"
            )
        self.size = predicted.shape[-1]
        longest = max(max(row.size) for row in split.rows)
        pixels = math.ceil(dilation * self.size / longest)
        splits = {name: NodeSplit.of(tree, name) for name in tree.experts}

        def region(index: int) -> Tensor:
            leaves = torch.from_numpy(predicted[index].astype(np.float32))
            found = region_of(tree, expert, lambda n: splits[n].summed(leaves[tree.rows(n)]))
            if found.any():
                return found
            true = torch.from_numpy(np.isin(split.labels(index), tree.ids(expert)))
            # Every cell that it touches: of a region thinner than a cell, too, something stays.
            return F.adaptive_max_pool2d(true[None].float(), tuple(found.shape))[0] > 0

        regions = torch.stack([region(index) for index in range(len(split))])
        self.regions = dilate(regions[:, None], pixels).to(device)
        self.leaves = torch.from_numpy(predicted[:, tree.rows(expert)]).to(device)

    def box(self, index: int) -> Tensor | None:
        """(4,) float32 around a sample's region, in its pixels; None if it is empty."""
        region = self.regions[index, 0].cpu()
        if not region.any():
            return None
        height, width = self.split.rows[index].size
        sides = torch.tensor([width, height, width, height])
        box: Tensor = bounding_box(region) * sides / self.size
        return box

    def views(
        self, indices: Sequence[int], frames: Tensor, centres: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Regions (B, 1, S, S) bool and probabilities (B, leaves, S, S) float32 under frames."""
        places = torch.tensor(indices, device=self.device)
        # The predictions cover the whole image, whatever its sides.
        sides = torch.tensor([self.split.rows[i].size[::-1] for i in indices], device=self.device)
        frames = frames * (self.size / sides)[:, :, None]
        regions = warp(self.regions[places].float(), frames, centres, "nearest") > 0.5
        return regions, warp(self.leaves[places].float() / 255, frames, centres)
