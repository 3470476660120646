"""Accuracy against cost: segmenters, each as a chain and with its root expert alone.

    python -m benchmarks.accuracy_per_cost FOLDER pretrained/default --out results/cost

The root names all leaves, so it is a flat network by itself. Chain and root predict one view by
each expert, all views, and all views and their flips. Counts multiply-adds and seconds of
photographs one at a time in PyTorch, on all cores, and how far each chain is above its root in the
same mode, with 95 % intervals. Writes DIR/accuracy_per_cost.json and .svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import this_machine
from benchmarks.plots import save_svg
from benchmarks.rows import markdown
from benchmarks.timing import interleaved
from final_model_stage.chain.settings import Settings
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.evaluation.metrics import dataset_level_miou, difference_intervals
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder, read_image

MODES = {
    "one view": {"tta_views": False, "tta_flip": False},
    "all views": {"tta_views": True, "tta_flip": False},
    "all views, flipped too": {"tta_views": True, "tta_flip": True},
}
CHAIN, ROOT_ALONE = "chain", "root alone"
RESAMPLINGS = 2000


@dataclass(frozen=True)
class Point:
    """A segmenter in one of its modes; all figures are means of one photograph."""

    segmenter: str
    network: str
    """CHAIN or ROOT_ALONE."""
    mode: str
    giga_multiply_adds: float
    milliseconds: float
    miou: dict[str, float]
    """mIoU_k of each level k, dataset level."""
    over_root: dict[str, dict[str, float]]
    """Of a chain: low and high end of how far it is above its root in the same mode, 95 %."""


def in_mode(segmenter: TorchSegmenter, network: str, mode: str) -> TorchSegmenter:
    """The same experts with other settings; ROOT_ALONE is a chain of one, on the flat tree."""
    changes: dict[str, object] = dict(MODES[mode])
    experts = segmenter.experts
    if network == ROOT_ALONE:
        root = segmenter.tree.root.name
        experts = {root: experts[root]}
        changes |= {
            "tree": segmenter.tree.flat().to_dict(),
            "experts": {root: segmenter.settings.experts[root].model_dump()},
        }
    return TorchSegmenter(Settings(**(segmenter.settings.model_dump() | changes)), experts)


def multiply_adds(task: Callable[[], object]) -> int:
    """Of all convolutions and matrix products in a task, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops()) // 2


def one_by_one(segmenter: TorchSegmenter, images: Sequence[np.ndarray]) -> None:
    for image in images:
        segmenter.label_maps([image])


def some_images(data: DatasetFolder, split: str, count: int) -> list[np.ndarray]:
    """(H, W, 3) uint8, `count` at most, evenly spread over the split."""
    ids = data.ids(split)
    some = np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)
    return [read_image(data.image_path(ids[i])) for i in some]


def measure(
    path: Path, data: DatasetFolder, split: str, photographs: int, repeats: int
) -> list[Point]:
    """photographs: whose cost is taken."""
    images = some_images(data, split, photographs)
    loaded = TorchSegmenter.load(path)
    segmenters = {
        (network, mode): in_mode(loaded, network, mode)
        for network in (ROOT_ALONE, CHAIN)
        for mode in MODES
    }
    tasks = {key: partial(one_by_one, one, images) for key, one in segmenters.items()}
    operations = {key: multiply_adds(task) / len(images) for key, task in tasks.items()}
    seconds = interleaved({" ".join(key): task for key, task in tasks.items()}, repeats)
    counts = {
        key: evaluate(one, data, split, with_oracle=False).counts for key, one in segmenters.items()
    }
    # Judged in the chain's tree: the leaves of the flat one have its order.
    tree = loaded.tree
    return [
        Point(
            segmenter=str(path),
            network=network,
            mode=mode,
            giga_multiply_adds=operations[network, mode] / 1e9,
            milliseconds=1000 * seconds[f"{network} {mode}"] / len(images),
            miou=dataset_level_miou(own, tree),
            over_root=difference_intervals(counts[ROOT_ALONE, mode], own, tree, RESAMPLINGS, 0)
            if network == CHAIN
            else {},
        )
        for (network, mode), own in counts.items()
    ]


def gains(points: Sequence[Point]) -> list[list[str]]:
    """Rows of a table: what each chain is above its root in the same mode, and the interval."""
    alone = {(p.segmenter, p.mode): p.miou for p in points if p.network == ROOT_ALONE}
    return [
        [
            *(point.segmenter, point.mode),
            *(
                f"{value - alone[point.segmenter, point.mode][level]:+.3f} "
                f"[{point.over_root[level]['low']:+.3f}, {point.over_root[level]['high']:+.3f}]"
                for level, value in point.miou.items()
            ),
        ]
        for point in points
        if point.network == CHAIN
    ]


def plot(points: Sequence[Point], path: Path) -> None:
    """A panel for each level, a line for each network; up and to the left is better."""
    levels = list(points[0].miou)
    figure, axes = plt.subplots(1, len(levels), figsize=(4 * len(levels), 3.8), squeeze=False)
    lines = list(dict.fromkeys((point.segmenter, point.network) for point in points))
    names = list(dict.fromkeys(segmenter for segmenter, _ in lines))
    for axis, level in zip(axes[0], levels, strict=True):
        for segmenter, network in lines:
            own = [p for p in points if (p.segmenter, p.network) == (segmenter, network)]
            own.sort(key=lambda point: point.giga_multiply_adds)
            axis.plot(
                [point.giga_multiply_adds for point in own],
                [point.miou[level] for point in own],
                "o-" if network == CHAIN else "s--",
                color=f"C{names.index(segmenter)}",
                label=f"{segmenter}, {network}",
            )
        axis.set(xlabel="G multiply-adds a photograph", ylabel=level, xscale="log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set_xticks([1, 2, 5, 10, 20])
    save_svg(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", type=Path, help="folder in the Pascal-Part layout")
    add("segmenters", type=Path, nargs="+", help="folders with segmenter.json")
    add("--split", choices=SPLITS, default="val")
    add("--out", type=Path, required=True, metavar="DIR")
    add("--photographs", type=int, default=20, metavar="N", help="whose cost is taken, default 20")
    add("--repeats", type=int, default=3, metavar="N", help="of the timing, default 3")
    arguments = parser.parse_args(argv)
    matplotlib.use("Agg")
    data = DatasetFolder(arguments.data)
    points: list[Point] = []
    for path in arguments.segmenters:
        points += measure(path, data, arguments.split, arguments.photographs, arguments.repeats)
    header = ["segmenter", "network", "mode", "G multiply-adds", "ms", *points[0].miou]
    rows = [
        [
            *(point.segmenter, point.network, point.mode),
            *(f"{point.giga_multiply_adds:.2f}", f"{point.milliseconds:.0f}"),
            *(f"{value:.3f}" for value in point.miou.values()),
        ]
        for point in points
    ]
    print(markdown(header, rows))
    print(markdown(["more than its root", "mode", *points[0].miou], gains(points)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(
        arguments.out / "accuracy_per_cost.json",
        {"machine": asdict(this_machine()), "points": [asdict(point) for point in points]},
    )
    plot(points, arguments.out / "accuracy_per_cost.svg")


if __name__ == "__main__":
    main()
