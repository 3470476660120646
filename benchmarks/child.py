"""One step of the pipeline in a process of its own: its wall time, and the most memory it took.

    python -m benchmarks.child training

runs in a workspace that `benchmarks.setup` made. It says `ready` when all is loaded, waits for a
line, runs the step and writes its figures as JSON. Imports are not in the time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric
from tqdm import tqdm

from benchmarks.setup import ROOT, untrained
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage import class_frequencies, find_grayscale, pack_samples
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.params import load_preprocessing_params
from train_stage.loaders import make_loaders
from train_stage.phases import phases
from train_stage.precision import pick_precision
from train_stage.trainer import Trainer

Run = Callable[[], object]


@dataclass(frozen=True)
class Figures:
    seconds: float
    mebibytes: float
    """Most memory that was resident at a time."""


def prepare(arguments: argparse.Namespace) -> Run:
    """What is to be measured, ready to run; this process is the group's first if it returns."""
    if arguments.step == "packing":
        return pack_samples.main
    if arguments.step == "statistics":
        return statistics
    params = load_preprocessing_params()
    if arguments.step == "evaluation":
        segmenter = TorchSegmenter.load(arguments.segmenter)
        return partial(evaluate, segmenter, DatasetFolder(params.data.folder), "val")
    name = arguments.expert or params.class_tree.root.name
    return training(name, arguments.devices, arguments.epochs)


def statistics() -> None:
    class_frequencies.main()
    find_grayscale.main()


def training(name: str, devices: int, epochs: int) -> Run:
    """Epochs of an expert, over `devices` processes."""
    task = untrained(name)
    params = task.params
    fabric = Fabric(accelerator="cpu", devices=devices, precision=pick_precision(params.precision))
    fabric.launch()
    loaders = make_loaders(task, fabric)
    run = Trainer(task, loaders, fabric)
    run.start(replace(phases(params)[0], epochs=epochs))
    if fabric.is_global_zero:
        _wait()

    def epochs_of_all() -> None:
        fabric.barrier()
        for epoch in range(epochs):
            run.train_epoch(epoch, tqdm(disable=True))
        fabric.barrier()

    if not fabric.is_global_zero:
        epochs_of_all()
        raise SystemExit
    return epochs_of_all


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def peak() -> float:
    """MiB; what Linux says of this program alone, not of the one that started it."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


class Child:
    """The process, from the side that started it."""

    def __init__(
        self, workspace: Path, step: str, *options: str, threads: int | None = None
    ) -> None:
        """threads: that torch may take in each process; None = one for each core."""
        self.step = step
        limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", step, *options],
            cwd=workspace,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"} | limit,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until all is loaded. Raises RuntimeError if it ends before."""
        assert self.process.stdout
        while (line := self.process.stdout.readline()) != "ready\n":
            if not line:
                raise RuntimeError(f"{self.step}: exit code {self.process.wait()}")

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def figures(self) -> Figures:
        """Wait for the end. Raises RuntimeError if it fails."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"{self.step}: exit code {self.process.returncode}")
        return Figures(**json.loads(output.splitlines()[-1]))


def run_child(workspace: Path, step: str, *options: str, threads: int | None = None) -> Figures:
    """A step, from its start to its figures."""
    child = Child(workspace, step, *options, threads=threads)
    child.ready()
    child.go()
    return child.figures()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("step", choices=("packing", "statistics", "training", "evaluation"))
    add("--segmenter", type=Path, default=ROOT / "pretrained/default")
    add("--expert", help="of `training`; default: the root")
    add("--devices", type=int, default=1, help="of `training`: processes")
    add("--epochs", type=int, default=1, help="of `training`")
    arguments = parser.parse_args(argv)
    run = prepare(arguments)
    if arguments.step != "training":
        _wait()
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "mebibytes": peak()}))


if __name__ == "__main__":
    main()
