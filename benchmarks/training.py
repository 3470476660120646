"""Training one expert: images a second from packed samples to the optimiser's step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.rows import Row
from benchmarks.setup import Setup, copies, make_workspace, preprocess, untrained
from benchmarks.smp_baseline import (
    AS_ONE_EXPERT,
    ENCODER,
    Photographs,
    loader,
    parameters,
    step,
    unet,
)
from benchmarks.timing import interleaved
from train_stage.dataset import Batch
from train_stage.loaders import make_loaders
from train_stage.optimizer import make_optimizer
from train_stage.phases import phases
from train_stage.precision import pick_precision
from train_stage.trainer import Trainer

PRODUCTS = 4


@dataclass(frozen=True)
class TrainingSpeed:
    """Images a second, parameters, and operations a second."""

    input_size: int
    batch_size: int
    ours: float
    baseline: float
    resident: float
    """Ours on one batch that lies in memory."""
    ours_parameters: int
    baseline_parameters: int
    flop_of_image: float
    """Forward and backward, as torch counts them."""
    ours_flops: float
    product_flops: float
    """Of a large matrix product in the precision that suits the processor."""
    precision: str

    def rows(self) -> list[Row]:
        giga = 1e-9
        size = f"{self.input_size} px, batch {self.batch_size}"
        counts = (
            f"{self.ours_parameters / 1e6:.2f} and {self.baseline_parameters / 1e6:.2f} M weights"
        )
        flops, product = self.ours_flops * giga, self.product_flops * giga
        smp = f"smp Unet, {self.precision}"
        return [
            Row(f"{size}, {counts}", self.ours, "images/s", smp, self.baseline, "> 1"),
            Row(size, self.ours, "images/s", "batch in memory", self.resident, ">= 0.85"),
            Row("operations", flops, "GFLOP/s", f"matrix product, {self.precision}", product),
        ]


class Resident:
    """In place of a loader: the same batch again and again."""

    def __init__(self, batch: Batch, count: int) -> None:
        self.batch, self.count = batch, count

    def __iter__(self) -> Iterator[Batch]:
        return repeat(self.batch, self.count)


def measure(setup: Setup) -> TrainingSpeed:
    """The root expert, the largest share of all training; the baseline has its classes and size."""
    scale, tree, name = setup.scale, setup.tree, setup.tree.root.name
    folder = setup.folder / "training"
    counts = {"train": scale.trained, "val": 2}
    people = copies(setup.people, folder / "data", tree, counts)
    workspace = make_workspace(folder / "workspace", people, setup.params)
    preprocess(workspace)
    with chdir(workspace):
        task = untrained(name)
    params = task.params
    precision = pick_precision(params.precision, "cpu")
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    leaves = len(tree.leaves_of(name))
    with chdir(workspace):
        loaders = make_loaders(task, fabric)
    batches = len(loaders.batches)
    batch = random_batch(loaders.batches.batch_size, params.input_size, leaves)
    resident = replace(loaders, train=cast(DataLoader[Batch], Resident(batch, batches)))
    phase = replace(phases(params)[0], epochs=scale.repeats + 1)
    ours, memory = (Trainer(task, some, fabric) for some in (loaders, resident))
    for one in (ours, memory):
        one.start(phase)

    network = unet(f"tu-{ENCODER}", leaves, AS_ONE_EXPERT).train()
    optimizer = make_optimizer([(network, params.learning_rate)], params)
    samples = Photographs(people, people.ids("train"), tree.leaf_of_id(name), params.input_size)
    plain = loader(samples, loaders.batches.batch_size)

    def baseline_epoch() -> None:
        for image, target in plain:
            step(network, optimizer, image, target)

    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    matrix = torch.ones(scale.product, scale.product, dtype=dtype)

    def products() -> None:
        for _ in range(PRODUCTS):
            matrix @ matrix

    tasks: dict[str, Callable[[], object]] = {
        "baseline": baseline_epoch,
        "ours": partial(ours.train_epoch, 1, tqdm(disable=True)),
        "resident": partial(memory.train_epoch, 1, tqdm(disable=True)),
        "product": products,
    }
    seconds = interleaved(tasks, scale.repeats)
    images = batches * loaders.batches.batch_size
    flop = flop_of_step(memory, batch) / loaders.batches.batch_size
    return TrainingSpeed(
        input_size=params.input_size,
        batch_size=loaders.batches.batch_size,
        ours=images / seconds["ours"],
        baseline=images / seconds["baseline"],
        resident=images / seconds["resident"],
        ours_parameters=parameters(ours.model),
        baseline_parameters=parameters(network),
        flop_of_image=flop,
        ours_flops=flop * images / seconds["ours"],
        product_flops=PRODUCTS * 2 * scale.product**3 / seconds["product"],
        precision=precision,
    )


def random_batch(count: int, size: int, leaves: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    return Batch(
        image=torch.rand(count, 3, size, size, generator=draw),
        region=torch.ones(count, 1, size, size),
        target=torch.randint(leaves, (count, size, size), generator=draw),
    )


def flop_of_step(training: Trainer, batch: Batch) -> int:
    """Operations of forward and backward pass; a multiplication with its addition is two.

    The backward pass counts as two forward ones: in it torch's counter takes grouped convolutions
    for dense ones (torch 2.14.1).
    """
    counter: Any = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        training.fabric_model(batch.image, batch.region)
    return 3 * int(counter.get_total_flops())
