"""What each idea is worth: from the method as first described to this project's, step by step.

    python -m benchmarks.ladder data/pascal_part --out results/ladder

Each step trains with all changes so far, by `./pipeline.sh --profile DIR/ladder.yaml`; only what a
change concerns is trained anew. Every expert sees each photograph about as often in all steps, far
less often than in profiles/as_described.yaml. What is finished stays in DIR, so that a run that
was broken off goes on. Writes DIR/<number>.json, DIR/ladder.svg and a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from ruamel.yaml import YAML

from benchmarks.accuracy_per_cost import multiply_adds, one_by_one, some_images
from benchmarks.machine import this_machine
from benchmarks.plots import save_svg
from benchmarks.rows import markdown
from benchmarks.setup import ROOT
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.evaluation.metrics import dataset_level_miou
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import atomic_write, write_json
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.params import read_yaml
from preprocessing_stage.paths import SEGMENTER
from train_stage.params import merge

FIRST = ROOT / "profiles/as_described.yaml"
SHORT = {
    "train.epochs": 3,
    "train.decoder_epochs": 1,
    "experts.person.epochs": 4,
    "experts.body.epochs": 3,
}


def of_experts(names: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same changes of several experts."""
    return {f"experts.{name}.{key}": value for name in names for key, value in changes.items()}


STEPS: dict[str, dict[str, Any]] = {
    "as first described": {},
    "batch norm": {"train.model.norm": "batch_each"},
    "the region fills the input": of_experts(
        ["body", "upper_body", "lower_body"],
        {"zoom": True, "input_size": 128, "model.initial_pool": 1},
    ),
    "learn and average leaves": {
        "train.model.targets": "leaves",
        "final.mode": "product",
        "final.average_ancestors": True,
    },
    "one shared start": {
        "train.init_from": "shared",
        "train.model.initial_pool": 1,
        "shared.input_size": 160,
        "shared.epochs": 6,
        "train.epochs": 1,
        "experts.person.epochs": 1,
        "experts.body.epochs": 1,
    },
    "more views": {"final.tta_views": True, "final.tta_flip": True},
    "ImageNet weights": {
        "train.model.encoder": "tf_efficientnet_lite0",
        "train.model.norm": "batch",
        "train.encoder_learning_rate": 3.0e-4,
        "shared.encoder_weights": "package",
    },
    "children of predicted regions": of_experts(
        ["upper_body", "lower_body"],
        {
            "regions": "predicted",
            "region_dilation": 6,
            "model.parent_channels": True,
            "model.rejects": True,
        },
    )
    | {"out_of_fold.training.epochs": 3},
}
"""Name of a step -> what it changes."""
PHOTOGRAPHS = 20
"""Whose multiply-adds are counted, evenly spread over the validation split."""


@dataclass(frozen=True)
class Rung:
    step: str
    minutes: float
    """Of training what this step changed."""
    giga_multiply_adds: float
    """Of a photograph, in the mean."""
    miou: dict[str, float]
    """mIoU_k of each level k, dataset level."""
    machine: dict[str, Any]


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    parts = (
        reduce(lambda below, key: {key: below}, reversed(path.split(".")), value)
        for path, value in flat.items()
    )
    return reduce(merge, parts, {})


def profile_of(number: int) -> dict[str, Any]:
    """The profile of a step: that of the first description, shortened, with all changes so far."""
    changes = list(STEPS.values())[: number + 1]
    return reduce(merge, map(nested, [SHORT, *changes]), read_yaml(FIRST))


def climb(number: int, data: Path, out: Path) -> Rung:
    """Train, evaluate and count one step."""
    profile = out / "ladder.yaml"
    with atomic_write(profile, encoding="utf-8") as file:
        YAML().dump(profile_of(number), file)
    start = time.perf_counter()
    options: list[str | Path] = ["--profile", profile.absolute(), "--data", data]
    if subprocess.run([ROOT / "pipeline.sh", *options, "build_segmenter"]).returncode:
        raise SystemExit(f"{profile}: its training failed, see above")
    minutes = (time.perf_counter() - start) / 60
    workspace = ROOT / "runs" / profile.stem
    folder = DatasetFolder(data)
    images = some_images(folder, "val", PHOTOGRAPHS)
    segmenter = TorchSegmenter.load(workspace / SEGMENTER)
    operations = multiply_adds(partial(one_by_one, segmenter, images)) / len(images)
    return Rung(
        step=list(STEPS)[number],
        minutes=minutes,
        giga_multiply_adds=operations / 1e9,
        miou=dataset_level_miou(
            evaluate(segmenter, folder, "val", with_oracle=False).counts, segmenter.tree
        ),
        machine=asdict(this_machine()),
    )


def plot(rungs: Sequence[Rung], path: Path) -> None:
    """Steps from top to bottom, each level a line."""
    figure, axis = plt.subplots(figsize=(7, 0.5 * len(rungs) + 1.2))
    places = range(len(rungs))
    for level in rungs[0].miou:
        axis.plot([rung.miou[level] for rung in rungs], places, "o-", label=level)
    axis.set_yticks(places, [rung.step for rung in rungs])
    axis.invert_yaxis()
    axis.set(xlabel="mIoU", xlim=(0, 1))
    save_svg(figure, path)


def table(rungs: Sequence[Rung]) -> str:
    levels = list(rungs[0].miou)
    rows = [
        [
            rung.step,
            *(f"{rung.miou[level]:.3f}" for level in levels),
            f"{rung.giga_multiply_adds:.2f}",
            f"{rung.minutes:.0f}",
        ]
        for rung in rungs
    ]
    return markdown(["", *levels, "G multiply-adds", "minutes"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args(argv)
    matplotlib.use("Agg")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rungs: list[Rung] = []
    for number in range(len(STEPS)):
        path = arguments.out / f"{number}.json"
        if not path.exists():
            write_json(path, asdict(climb(number, arguments.data, arguments.out)))
        rungs.append(Rung(**json.loads(path.read_text())))
        plot(rungs, arguments.out / "ladder.svg")
        print(table(rungs), flush=True)


if __name__ == "__main__":
    main()
