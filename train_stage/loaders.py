"""Batches of both splits for one training process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from preprocessing_stage.dataset.class_tree import Node
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.statistics import read_gray, read_pixels
from preprocessing_stage.dataset.user_error import UserError
from train_stage.dataset import Batch, EpochBatches, ExpertSamples
from train_stage.losses import WeightedSplit, class_weights
from train_stage.parents import ParentPredictions
from train_stage.task import Task

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Loaders:
    train: DataLoader[Batch]
    batches: EpochBatches
    """The sampler of `train`, which has to be told the epoch."""
    val: DataLoader[Batch]
    split: WeightedSplit
    """Of the expert's node, with the class weights of the loss."""

    def resize(self, input_size: int) -> None:
        """Samples of this side from the next pass on."""
        for loader in (self.train, self.val):
            assert isinstance(loader.dataset, ExpertSamples)
            loader.dataset.input_size = input_size


def make_loaders(task: Task, fabric: Fabric) -> Loaders:
    """Raises UserError if a split has no sample of the region, processes no equal share of a
    batch, or batch norms a single value."""
    workers = task.machine.loader_workers
    if workers:
        _check_shared_memory(task)
    # Workers have no GPU; without them batches are made where they are used.
    device = torch.device("cpu") if workers else fabric.device
    train, val = train_samples(task, device), val_samples(task, device)
    size = task.params.batch_size
    share = {"rank": fabric.global_rank, "processes": fabric.world_size}
    batches = EpochBatches(len(train), size, seed=task.params.seed, **share)
    if batches.batch_size % fabric.world_size:
        raise UserError(
            f"{task.section}.batch_size: {batches.batch_size} is no multiple of the "
            f"{fabric.world_size} processes; each takes an equal share of every batch, and there "
            f"are {len(train)} samples"
        )
    if problem := task.params.batch_norm_problem(batches.batch_size // fabric.world_size):
        raise UserError(f"{task.section}.{problem}; there are {len(train)} samples")
    in_order = EpochBatches(len(val), size, seed=None, **share)
    options: dict[str, Any] = {"batch_size": None, "num_workers": workers}
    return Loaders(
        train=DataLoader(train, sampler=batches, **options),
        batches=batches,
        val=DataLoader(val, sampler=in_order, **options),
        split=weighted_split(task),
    )


def _check_shared_memory(task: Task) -> None:
    """Workers hand batches over in shared memory, and wait for ever where it is full."""
    if not SHARED_MEMORY.is_dir():
        return
    pixels = task.params.batch_size * task.params.last_input_size**2
    parent = len(task.tree.leaves_of(task.node)) * task.params.model.parent_channels
    image, region, target = 3, 1, 2  # in units of 4 bytes
    needed = pixels * 4 * (image + region + target + parent)
    needed *= 2 * task.machine.loader_workers + 1
    if (free := shutil.disk_usage(SHARED_MEMORY).free) < needed:
        raise UserError(
            f"machine.loader_workers: {task.machine.loader_workers} need {needed / 2**20:.0f} MiB "
            f"in {SHARED_MEMORY}, which has {free / 2**20:.0f} free; set it to 0, or give the "
            "container more (docker run --shm-size)"
        )


def train_samples(task: Task, device: torch.device) -> ExpertSamples:
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
        without=frozenset(gray if task.params.gray == "drop" else ()) | task.left_out,
        parents=_parents(task, split, device),
        device=device,
    )


def val_samples(task: Task, device: torch.device) -> ExpertSamples:
    split = PackedSplit("val")
    parents = _parents(task, split, device)
    return ExpertSamples(
        split, task.tree, task.node, task.params, augment=False, parents=parents, device=device
    )


def _parents(task: Task, split: PackedSplit, device: torch.device) -> ParentPredictions | None:
    if task.params.regions == "labelled" or not len(split):
        return None
    return ParentPredictions(split, task.tree, task.node, task.params.region_dilation, device)


def weighted_split(task: Task) -> WeightedSplit:
    """The node's split, weighted by how often its classes occur in training."""
    pixels, power = read_pixels("train"), task.params.loss.class_weight_power
    learns_leaves = task.params.model.targets == "leaves"

    def weights(nodes: Sequence[Node]) -> torch.Tensor:
        return class_weights([pixels[node.name] for node in nodes], power)

    split = WeightedSplit(
        torch.from_numpy(task.tree.leaves_of_children(task.node)),
        leaf_weights=weights(task.tree.leaves_of(task.node)) if learns_leaves else None,
        child_weights=weights(task.tree[task.node].children),
    )
    return split.with_rejected() if task.params.model.rejects else split
