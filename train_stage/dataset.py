"""Samples of one expert: what lies under a frame, its region and the target inside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from train_stage.augmentation import random_colours, random_frame
from train_stage.params import ExpertParams
from train_stage.regions import box_frame, pixel_centres, region_box, warp, whole_image


@dataclass(frozen=True)
class Batch:
    image: Tensor
    """(B, 3, S, S) float32 in 0..1."""
    region: Tensor
    """(B, 1, S, S) float32, 1 inside the expert's region."""
    target: Tensor
    """(B, S, S) long: index in the tree's `leaves_of` the expert, 255 outside the region and where
    truth is unknown."""


Sample = tuple[Tensor, Tensor, Tensor]


class ExpertSamples(Dataset[Sample]):
    """Samples of a split that contain the region of an expert.

    Indexed by (epoch, index): a sample depends on the seed and on these two alone, whatever
    the order of reading and the number of worker processes.
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
    ) -> None:
        """gray_share: of samples turned gray. without: ids that are left out.

        Raises SystemExit if no sample contains the region.
        """
        self.split, self.params = split, params
        self.input_size = params.input_size
        """Side in pixels of the samples; phases change it between two passes."""
        self.augment, self.gray_share = augment, gray_share
        self.is_root = expert == tree.root.name
        ids = tree.ids(expert)
        self.leaf_of_id = tree.leaf_of_id(expert)
        self.used = [
            index
            for index, row in enumerate(split.rows)
            if row.id not in without and (self.is_root or np.isin(split.labels(index), ids).any())
        ]
        if not self.used:
            name = split.rows[0].split if split.rows else "empty"
            left = f", but for the {len(without)} gray ones that `gray: drop` leaves out"
            raise SystemExit(
                f"expert {expert}: no sample of the {name} split contains its region"
                f"{left if without else ''}; add samples, or take this node out of the tree"
            )

    def __len__(self) -> int:
        return len(self.used)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Image (3, S, S), region (1, S, S), target (S, S) as in `Batch`."""
        epoch, index = key
        index = self.used[index]
        image = torch.from_numpy(self.split.image(index).astype(np.float32) / 255).permute(2, 0, 1)
        target = torch.from_numpy(self.leaf_of_id[self.split.labels(index)])
        height, width = target.shape
        if self.is_root:
            region = torch.ones(height, width, dtype=torch.bool)
            box = whole_image(height, width)
        else:
            region = target != IGNORE
            box = region_box(region, self.params.box_margin, self.params.max_box_aspect)
        frame = box_frame(box)
        if self.augment:
            rng = np.random.default_rng([self.params.seed, epoch, index])
            frame = random_frame(box, self.params.augmentation, rng)
        centres = pixel_centres(self.input_size)
        image = warp(image, frame, centres)
        # One call for both, so that they cannot drift apart. `warp` yields 0 outside the image,
        # which must become IGNORE.
        shifted = torch.stack([region.float(), target.float() - IGNORE])
        region, target = warp(shifted, frame, centres, "nearest")
        if self.augment:
            image = random_colours(image, self.params.augmentation, self.gray_share, rng)
        return image, region[None], (target + IGNORE).round().long()


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) for one process: its share of every global batch.

    Shuffled from the seed and the epoch alone. With `drop_last` every batch is full, so that all
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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.arange(self.length)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for batch in range(len(self)):
            some = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            if own := [(self.epoch, int(index)) for index in some[self.rank :: self.processes]]:
                yield own


def collate(samples: list[Sample]) -> Batch:
    images, regions, targets = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.stack(regions), torch.stack(targets))
