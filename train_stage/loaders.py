"""Batches of both splits for one training process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from preprocessing_stage.dataset.class_tree import Node
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.statistics import read_gray, read_pixels
from train_stage.dataset import EpochBatches, ExpertSamples, Sample, collate
from train_stage.losses import WeightedSplit, class_weights
from train_stage.task import Task


@dataclass(frozen=True)
class Loaders:
    train: DataLoader[Sample]
    batches: EpochBatches
    """The sampler of `train`, which has to be told the epoch."""
    val: DataLoader[Sample]
    split: WeightedSplit
    """Of the expert's node, with the class weights of the loss."""

    def resize(self, input_size: int) -> None:
        """Samples of this side from the next pass on."""
        for loader in (self.train, self.val):
            assert isinstance(loader.dataset, ExpertSamples)
            loader.dataset.input_size = input_size


def make_loaders(task: Task, fabric: Fabric) -> Loaders:
    """Raises SystemExit if a split has no sample of the region, or processes no equal share."""
    train, val = train_samples(task), val_samples(task)
    size = task.params.batch_size
    share = {"rank": fabric.global_rank, "processes": fabric.world_size}
    batches = EpochBatches(len(train), size, seed=task.params.seed, **share)
    if batches.batch_size % fabric.world_size:
        raise SystemExit(
            f"{task.section}.batch_size: {batches.batch_size} is no multiple of the "
            f"{fabric.world_size} processes; each takes an equal share of every batch, and there "
            f"are {len(train)} samples"
        )
    in_order = EpochBatches(len(val), size, seed=None, **share)
    options: dict[str, Any] = {"collate_fn": collate, "num_workers": task.machine.loader_workers}
    return Loaders(
        train=DataLoader(train, batch_sampler=batches, **options),
        batches=batches,
        val=DataLoader(val, batch_sampler=in_order, **options),
        split=weighted_split(task),
    )


def train_samples(task: Task) -> ExpertSamples:
    """Augmented; gray photographs as `gray` says."""
    split = PackedSplit("train")
    gray = read_gray() & {row.id for row in split.rows}
    return ExpertSamples(
        split,
        task.tree,
        task.node,
        task.params,
        augment=True,
        gray_share=len(gray) / len(split) if task.params.gray == "match" else 0.0,
        without=frozenset(gray if task.params.gray == "drop" else ()),
    )


def val_samples(task: Task) -> ExpertSamples:
    return ExpertSamples(PackedSplit("val"), task.tree, task.node, task.params, augment=False)


def weighted_split(task: Task) -> WeightedSplit:
    """The node's split, weighted by how often its classes occur in training."""
    pixels, power = read_pixels("train"), task.params.loss.class_weight_power

    def weights(nodes: Sequence[Node]) -> torch.Tensor:
        return class_weights([pixels[node.name] for node in nodes], power)

    return WeightedSplit(
        torch.from_numpy(task.tree.leaves_of_children(task.node)),
        leaf_weights=weights(task.tree.leaves_of(task.node)),
        child_weights=weights(task.tree[task.node].children),
    )
