"""Images a second and memory of trainings on a GPU: `python -m benchmarks.offline.speed NAME...`.

In a workspace with params.yaml and packed samples; NAME is `shared` or an expert. Each is trained
for two epochs of its first phase, on true regions, and the second is timed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from tqdm import tqdm

from train_stage.expert_params import ExpertParams
from train_stage.loaders import make_loaders
from train_stage.params import SHARED, WITHOUT_PARENT, merge
from train_stage.phases import phases
from train_stage.task import Task
from train_stage.trainer import Trainer
from train_stage.training import launch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64])
    arguments = parser.parse_args()
    for name in arguments.names:
        for size in arguments.batch_sizes:
            measure(Task.of_shared() if name == SHARED else Task.of_expert(name), size)


def measure(task: Task, batch_size: int) -> None:
    """Print a line."""
    changes = {**WITHOUT_PARENT, "init_from": None, "batch_size": batch_size}
    params = ExpertParams.model_validate(merge(task.params.model_dump(), changes))
    task = replace(task, params=params)
    fabric, precision = launch(task)
    loaders = make_loaders(task, fabric)
    trainer, phase = Trainer(task, loaders, fabric), phases(params)[0]
    loaders.resize(phase.input_size)
    trainer.start(phase)
    torch.cuda.reset_peak_memory_stats()
    for epoch in (1, 2):  # libraries choose and build kernels in the first
        begin = time.perf_counter()
        trainer.train_epoch(epoch, tqdm(disable=True))
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    images = len(loaders.batches) * loaders.batches.batch_size
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(
        f"{task.name}, {phase.input_size} px, batch {batch_size}, {precision}: "
        f"{images / seconds:.0f} images/s, {memory:.1f} GiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
