"""Samples of one expert in batches: what lies under each frame, its region and the target in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from preprocessing_stage.dataset.class_tree import BACKGROUND, IGNORE, ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import UserError
from train_stage.augmentation import RandomNumbers, random_colours, random_frames, random_numbers
from train_stage.canvases import Canvases
from train_stage.expert_params import ExpertParams
from train_stage.parents import ParentPredictions
from train_stage.regions import (
    bounding_box,
    box_frame,
    pixel_centres,
    warp,
    whole_image,
    widen_box,
)

Key = tuple[int, int]
"""Epoch, and place of a sample among those that contain the region."""

_OUTSIDE, _UNKNOWN, _FIRST = 0, 1, 2
"""Codes of pixels beside the image, of those without a target, and of the first target."""


@dataclass(frozen=True)
class Batch:
    image: Tensor
    """(B, 3, S, S) float32 in 0..1."""
    region: Tensor
    """(B, 1, S, S) float32, 1 inside the expert's region."""
    target: Tensor
    """(B, S, S) long: index in the tree's `leaves_of` the expert; their number where a pixel of a
    predicted region is none of them, if the expert rejects; 255 outside the region, where truth is
    unknown, and where a pixel is none of them otherwise."""
    parent: Tensor | None = None
    """(B, leaves, S, S) float32: the parent's probabilities of the expert's leaves, if it gets
    them."""

    def to(self, device: torch.device) -> Batch:
        parent = None if self.parent is None else self.parent.to(device)
        return Batch(self.image.to(device), self.region.to(device), self.target.to(device), parent)


class ExpertSamples(Dataset[Batch]):
    """Samples of a split that contain the region of an expert.

    Indexed by lists of keys: a sample depends on the seed and on these two alone,
    whatever the order of reading, its neighbours and the number of worker processes.
    """

    def __init__(
        self,
        split: PackedSplit,
        tree: ClassTree,
        expert: str,
        params: ExpertParams,
        *,
        augment: bool,
        gray_share: float = 0.0,
        without: frozenset[str] = frozenset(),
        parents: ParentPredictions | None = None,
        device: torch.device | None = None,
    ) -> None:
        """gray_share: of samples turned gray. without: ids that are left out. parents: what the
        expert's parents predict of the split; None = true regions. device: where batches are
        made, None = the CPU.

        Raises UserError if no sample contains the region.
        """
        self.split, self.params, self.parents = split, params, parents
        self.input_size = params.input_size
        """Side in pixels of the samples; phases change it between two passes."""
        self.augment, self.gray_share = augment, gray_share
        self.device = device or torch.device("cpu")
        self.is_root = expert == tree.root.name
        wanted = [i for i, row in enumerate(split.rows) if row.id not in without]
        boxes = {i: box for i in wanted if (box := self._box(i, tree.ids(expert))) is not None}
        self.used = list(boxes)
        if not self.used:
            name = split.rows[0].split if split.rows else "empty"
            # Of this split, whatever else `without` names.
            left = f", but for the {len(split) - len(wanted)} left out by `gray: drop` or a fold"
            raise UserError(
                f"expert {expert}: no sample of the {name} split contains its region"
                f"{left if len(wanted) < len(split) else ''}; add samples, or take this node out "
                "of the tree"
            )
        places = tree.flipped(expert)
        self.flipped_leaves = torch.tensor(places, device=self.device)
        self.flipped_codes = torch.arange(256, device=self.device)
        self.flipped_codes[_FIRST : _FIRST + len(places)] = self.flipped_leaves + _FIRST
        self.boxes = torch.stack(list(boxes.values()))
        self.background = int(codes(tree, expert, False)[BACKGROUND])
        self.canvases = Canvases(split, codes(tree, expert, params.model.rejects), self.device)

    def __len__(self) -> int:
        return len(self.used)

    def __getitem__(self, keys: Sequence[Key]) -> Batch:
        epochs, places = zip(*keys, strict=True)
        indices = [self.used[place] for place in places]
        boxes = self.boxes[list(places)]
        if self.augment:
            drawn = random_numbers(self.params.seed, epochs, indices)
            is_flipped = drawn.flip < self.params.augmentation.flip
            frames = random_frames(boxes, self.params.augmentation, drawn.frame, is_flipped)
        else:
            frames = torch.stack([box_frame(box) for box in boxes])
        frames = frames.to(self.device)
        centres = pixel_centres(self.input_size).to(self.device)
        image, code = self._look(indices, frames, centres)
        if self.augment:
            flipped = torch.from_numpy(is_flipped).to(self.device)[:, None, None, None]
            code = torch.where(flipped, self.flipped_codes[code], code)
            if self.is_root:
                self._paste(image, code, drawn, centres)
            image = random_colours(image, self.params.augmentation, self.gray_share, drawn.colour)
        target = torch.where(code >= _FIRST, code - _FIRST, IGNORE)
        if self.parents is None:
            region = code > (_OUTSIDE if self.is_root else _UNKNOWN)
            return Batch(image, region.float(), target[:, 0])
        region, parent = self.parents.views(indices, frames, centres)
        if self.augment:
            parent = torch.where(flipped, parent[:, self.flipped_leaves], parent)
            kept = torch.from_numpy(drawn.parent >= self.params.parent_dropout)
            parent = parent * kept.to(self.device)[:, None, None, None]
        target = torch.where(region, target, IGNORE)[:, 0]
        return Batch(
            image, region.float(), target, parent if self.params.model.parent_channels else None
        )

    def _look(
        self, indices: Sequence[int], frames: Tensor, centres: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float32 in 0..1 and codes (B, 1, S, S) under frames (B, 2, 3)."""
        images, pixel_codes = self.canvases[indices]
        image = warp(images.float() / 255, frames, centres)
        return image, warp(pixel_codes.float(), frames, centres, "nearest").round().long()

    def _paste(self, image: Tensor, code: Tensor, drawn: RandomNumbers, centres: Tensor) -> None:
        """Lay the foreground of other samples over some, in place (Ghiasi et al. 2021, "Simple
        Copy-Paste is a Strong Data Augmentation Method", section 3). There is none without a
        background."""
        params = self.params.augmentation
        chosen = np.flatnonzero(drawn.paste[:, 0] < params.copy_paste)
        if self.background < _FIRST or not len(chosen):
            return
        places = (drawn.paste[chosen, 1] * len(self)).astype(int)
        is_flipped = drawn.pasted_flip[chosen] < params.flip
        frames = random_frames(self.boxes[places], params, drawn.pasted_frame[chosen], is_flipped)
        indices = [self.used[place] for place in places]
        other, pasted = self._look(indices, frames.to(self.device), centres)
        flipped = torch.from_numpy(is_flipped).to(self.device)[:, None, None, None]
        pasted = torch.where(flipped, self.flipped_codes[pasted], pasted)
        foreground = (pasted >= _FIRST) & (pasted != self.background)
        image[chosen] = torch.where(foreground, other, image[chosen])
        code[chosen] = torch.where(foreground, pasted, code[chosen])

    def _box(self, index: int, ids: Sequence[int]) -> Tensor | None:
        """(4,) float32: where the expert looks in a sample; None if its region is empty."""
        if self.is_root:
            return whole_image(*self.split.rows[index].size)
        if self.parents is not None:
            box = self.parents.box(index)
        else:
            region = torch.from_numpy(np.isin(self.split.labels(index), ids))
            box = bounding_box(region) if region.any() else None
        if box is None or not self.params.zoom:
            return None if box is None else whole_image(*self.split.rows[index].size)
        return widen_box(box, self.params.box_margin, self.params.max_box_aspect)


def codes(tree: ClassTree, expert: str, rejects: bool) -> np.ndarray:
    """(256,) uint8: label -> code of the target."""
    leaf = tree.leaf_of_id(expert)
    if rejects:
        others = set(tree.ids(tree.root.name)) - set(tree.ids(expert))
        leaf[list(others)] = len(tree.ids(expert))
    return np.where(leaf == IGNORE, _UNKNOWN, leaf + _FIRST).astype(np.uint8)


class EpochBatches(Sampler[list[Key]]):
    """Batches of (epoch, index) for one process: its share of every global batch.

    Shuffled from the seed and the epoch alone. With a seed every batch is full, so that all
    processes have equal shares; a set smaller than one batch is a batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int | None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """seed: None keeps the order and the last, smaller batch (validation)."""
        self.length, self.seed = length, seed
        self.batch_size = min(batch_size, length)
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def __len__(self) -> int:
        if self.seed is None:
            return -(-self.length // self.batch_size)
        return self.length // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.length)
        if self.seed is not None:
            draw = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=[self.epoch]))
            order = draw.permutation(self.length)
        for batch in range(len(self)):
            some = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            if own := [(self.epoch, int(index)) for index in some[self.rank :: self.processes]]:
                yield own
