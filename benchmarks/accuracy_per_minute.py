"""What minutes of training buy: mIoU of the leaves by the chain and by one Unet as large.

    python -m benchmarks.accuracy_per_minute --out minutes --minutes 10

Trains the networks of params.yaml completely with a quarter, a half and all of their epochs (or as
many as M minutes take), and the baseline for as many minutes. The shared network, which all
experts start from, counts by itself too. Validation on whole images is not in the minutes. Writes
DIR/accuracy_per_minute.json and .svg. Takes four times the longest training, or less.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.flat_baseline import flat_segmenter
from benchmarks.machine import this_machine
from benchmarks.plots import save_svg
from benchmarks.setup import ROOT, make_workspace, preprocess
from benchmarks.smp_baseline import (
    AS_THE_CHAIN,
    ENCODER,
    Photographs,
    loader,
    parameters,
    step,
    unet,
)
from final_model_stage import build_segmenter
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.evaluation.metrics import dataset_level_miou
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.check_dataset import read_pairs, sound
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import RENDERED_PEOPLE, SEGMENTER, SHARED_FILE
from preprocessing_stage.render_people import render_people
from train_stage import train_shared as train_shared
from train_stage.colour_statistics import MEAN, STD
from train_stage.confusion import confusion_matrix
from train_stage.encoder_weights import load_encoder_weights
from train_stage.expert_params import ExpertParams
from train_stage.optimizer import make_optimizer
from train_stage.params import load_train_params
from train_stage.task import Task
from train_stage.training import run

FIRST_SHARE = 0.25
"""Of the epochs of params.yaml, in the first training."""
EVALUATIONS = 8
"""Evaluations of the baseline on its way through the longest training."""


@dataclass(frozen=True)
class Point:
    network: str
    """chain, shared or baseline."""
    minutes: float
    miou: float
    """Dataset-level, deepest level, validation split at the images' own size."""
    finished: bool
    """Whether a training ended here, its learning rate at 0."""


def train_chain(workspace: Path, data: DatasetFolder, params: Path, share: float) -> list[Point]:
    """Shared network and chain after complete trainings with a share of the epochs."""
    make_workspace(workspace, data, params, shorter(params, share))
    shutil.rmtree(workspace / ".checkpoints", ignore_errors=True)
    tree = load_preprocessing_params(params).class_tree
    with chdir(workspace):
        start = time.perf_counter()
        train_shared.main()
        shared = time.perf_counter() - start
        for name in tree.experts:
            run(Task.of_expert(name))
        whole = time.perf_counter() - start
        build_segmenter.main()
        points = []
        for name, seconds, segmenter in (
            ("shared", shared, flat_segmenter(SHARED_FILE)),
            ("chain", whole, TorchSegmenter.load(SEGMENTER)),
        ):
            counts = evaluate(segmenter, data, "val", with_oracle=False).counts
            points.append(Point(name, seconds / 60, deepest(counts, tree), True))
        return points


def shorter(params: Path, share: float) -> dict[str, Any]:
    """Changes of params that leave a share of all epochs, one at least."""
    train = load_train_params(params)

    def fewer(epochs: int) -> int:
        return max(1, round(share * epochs)) if epochs else 0

    def epochs(own: ExpertParams) -> dict[str, Any]:
        changes: dict[str, Any] = {
            "epochs": fewer(own.epochs),
            "decoder_epochs": fewer(own.decoder_epochs),
        }
        if own.high_resolution:
            changes["high_resolution"] = {"epochs": fewer(own.high_resolution.epochs)}
        return changes

    experts = {name: epochs(own) for name, own in train.experts.items()}
    return {"shared": epochs(train.shared), "experts": experts}


def train_baseline(
    data: DatasetFolder, params: Path, minutes: float, evaluations: int
) -> tuple[list[Point], int]:
    """A Unet after `evaluations` equal parts of its minutes, and its number of parameters.

    Encoder weights, input, batch, optimiser, peak learning rate and precision are those of the
    shared network.
    """
    tree, shared = load_preprocessing_params(params).class_tree, load_train_params(params).shared
    torch.manual_seed(shared.seed)
    network = unet(f"tu-{ENCODER}", len(tree.leaves), AS_THE_CHAIN)
    if shared.encoder_weights:
        encoder: Any = network.encoder
        load_encoder_weights(encoder.model, ENCODER, shared.encoder_weights)
    optimizer = make_optimizer([(network, shared.learning_rate)], shared)
    ids = data.ids("train")
    samples = Photographs(data, ids, tree.leaf_of_id(tree.root.name), shared.input_size)
    batches = endless(loader(samples, min(shared.batch_size, len(ids))))
    due = [minutes * (number + 1) / evaluations for number in range(evaluations)]
    points: list[Point] = []
    network.train()
    start = time.perf_counter()
    while len(points) < evaluations:
        trained = (time.perf_counter() - start) / 60
        if trained < due[len(points)]:
            for group in optimizer.param_groups:
                group["lr"] = shared.learning_rate * one_cycle(trained / minutes)
            step(network, optimizer, *next(batches))
            continue
        before = time.perf_counter()
        counts = evaluate_baseline(network, data, tree, shared.input_size)
        points.append(
            Point("baseline", trained, deepest(counts, tree), len(points) + 1 == evaluations)
        )
        start += time.perf_counter() - before
    return points, parameters(network)


def endless(batches: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from batches


def one_cycle(share: float) -> float:
    """Learning rate over its peak: up in the first 15 % of a training, then down in a cosine."""
    if share < 0.15:
        return 0.04 + 0.96 * share / 0.15
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (share - 0.15) / 0.85))


@torch.inference_mode()
def evaluate_baseline(
    network: nn.Module, data: DatasetFolder, tree: ClassTree, size: int
) -> np.ndarray:
    """Counts (images, leaves, leaves) as of `final_model_stage.evaluation.confusion_counts`."""
    network.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    index, counts = tree.leaf_of_id(tree.root.name), []
    for result in read_pairs(data, data.ids("val"), tree, lambda pair: pair):
        pair = sound(data, result)
        image = (torch.from_numpy(pair.image.copy()).permute(2, 0, 1).float() / 255 - mean) / std
        small = F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)
        logits = F.interpolate(network(small), pair.labels.shape, mode="bilinear")
        found = logits.argmax(1)[0].numpy()
        counts.append(confusion_matrix(index[pair.labels], found, len(tree.leaves)))
    network.train()
    return np.stack(counts)


def deepest(counts: np.ndarray, tree: ClassTree) -> float:
    """mIoU of the deepest level, mIoU_2 of people."""
    return dataset_level_miou(counts, tree)[f"mIoU_{tree.depth - 1}"]


def measure(
    folder: Path, data: DatasetFolder, params: Path, minutes: float | None
) -> tuple[list[Point], int]:
    """All points, and the baseline's number of parameters.

    minutes: of the longest training; None = all epochs of params.yaml.
    """
    workspace = make_workspace(folder / "workspace", data, params)
    preprocess(workspace)
    points = train_chain(workspace, data, params, FIRST_SHARE)
    first = points[-1].minutes
    longest = 1.0 if minutes is None else FIRST_SHARE * minutes / first
    for share in (longest / 2, longest):
        if share > FIRST_SHARE:
            points += train_chain(workspace, data, params, share)
    lengths = [point.minutes for point in points if point.network == "chain"]
    size = 0
    for length in lengths:
        found, size = train_baseline(
            data, params, length, EVALUATIONS if length == max(lengths) else 1
        )
        points += found
    return points, size


def plot(points: list[Point], path: Path) -> None:
    """Complete trainings as dots; what the baseline reaches on its way as a dotted line."""
    figure, axis = plt.subplots(figsize=(6, 3.8))
    names = {
        "chain": "chain of four experts",
        "shared": "its shared network alone",
        "baseline": "smp Unet as large as the chain",
    }
    for colour, (network, name) in enumerate(names.items()):
        some = [point for point in points if point.network == network and point.finished]
        some.sort(key=lambda point: point.minutes)
        x, y = [point.minutes for point in some], [point.miou for point in some]
        axis.plot(x, y, "o-", color=f"C{colour}", label=name)
    way = [point for point in points if point.network == "baseline"][-EVALUATIONS:]
    x, y = [point.minutes for point in way], [point.miou for point in way]
    axis.plot(x, y, ":", color="C2", lw=1, label="on its way")
    axis.set(xlabel="minutes of training", ylabel="mIoU_2 on validation images")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    save_svg(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR")
    add("--minutes", type=float, metavar="M", help="of the longest training; default: all epochs")
    add("--data", type=Path, metavar="FOLDER", help="default: people rendered as params.yaml says")
    add("--params", type=Path, default=ROOT / "params.yaml", metavar="FILE", help="of the networks")
    arguments = parser.parse_args(argv)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    matplotlib.use("Agg")
    out, params = arguments.out.absolute(), arguments.params.absolute()
    with tempfile.TemporaryDirectory(prefix="benchmarks_") as folder:
        data = DatasetFolder((arguments.data or ROOT / RENDERED_PEOPLE).absolute())
        if not data.path.exists() and arguments.data is None:
            own = load_preprocessing_params(params)
            data = DatasetFolder(Path(folder, "people"))
            render_people(own.render_people, palette(own.class_tree), data.path)
        points, size = measure(Path(folder), data, params, arguments.minutes)
    for point in points:
        end = "" if point.finished else ", on its way"
        print(f"{point.network}: {point.minutes:.1f} minutes, {point.miou:.3f}{end}")
    out.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": asdict(this_machine()),
        "baseline_parameters": size,
        "points": [asdict(point) for point in points],
    }
    write_json(out / "accuracy_per_minute.json", figures)
    plot(points, out / "accuracy_per_minute.svg")


if __name__ == "__main__":
    main()
