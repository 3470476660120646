"""A tiny data set, packed, and params of a tiny training, for tests of the train stage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.pack_samples import write_checksums
from preprocessing_stage.packed_samples import PACKED, PackedSplit
from preprocessing_stage.params import read_yaml
from preprocessing_stage.statistics import STATISTICS
from train_stage.params import ExpertParams, merge, train_problems

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
TREE = ClassTree({"person": {"background": 0, "body": {"upper": 1, "lower": 2}}})
TINY = {
    "input_size": 32,
    "encoder_weights": None,
    "start_from": None,
    "model": {
        "encoder": "unet",
        "base_channels": 8,
        "depth": 2,
        "stem_stride": 2,
        "initial_pool": 1,
        "norm": "layer",
        "dropout": 0.2,
    },
    "batch_size": 4,
    "epochs": 2,
    "larger": None,
    "decoder_epochs": 1,
    "precision": "32-true",
    "examples_every": 1,
}
TIMM = {"encoder": "tf_efficientnet_lite0", "depth": 5, "stem_stride": 2, "initial_pool": 1}
NO_JITTER = {
    "flip": 0,
    "smallest_crop": 1,
    "aspect": 0,
    "rotation": 0,
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
}

Pair = tuple[np.ndarray, np.ndarray]


def sections(devices: int = 1, **changes: Any) -> dict[str, Any]:
    """Sections of a params file; changes: keys of `train` to replace, at any depth."""
    base = read_yaml(ROOT / "params.yaml")
    return base | {
        "tree": TREE.to_dict(),
        "train": merge(merge(base["train"], TINY), changes),
        "common": {},
        "experts": dict.fromkeys(TREE.experts),
        "machine": {"devices": devices, "loader_workers": 0},
    }


def expert_params(**changes: Any) -> ExpertParams:
    params, problems = train_problems(sections(**changes))
    assert params, problems
    return params.experts["person"]


def draw_pair(rng: np.random.Generator, *, lower: bool = True) -> Pair:
    """Image (40, 48, 3) and label map (40, 48) of a red upper and a blue lower box on noise."""
    image = rng.integers(0, 100, (40, 48, 3), np.uint8)
    labels = np.zeros((40, 48), np.uint8)
    x, y = rng.integers(4, 20), rng.integers(4, 10)
    labels[y : y + 10, x : x + 12] = 1
    if lower:
        labels[y + 10 : y + 24, x + 2 : x + 10] = 2
    image[labels == 1] += np.array([150, 0, 0], np.uint8)
    image[labels == 2] += np.array([0, 0, 150], np.uint8)
    return image, labels


def draw_pairs(count: int, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    return [draw_pair(rng) for _ in range(count)]


def write_packed(folder: Path, splits: dict[str, list[Pair]], gray: tuple[str, ...] = ()) -> None:
    """What preprocessing leaves in `folder`; samples are called <split>_0, <split>_1, ..."""
    ids = [leaf.id for leaf in TREE.leaves]
    packed, statistics = folder / PACKED, folder / STATISTICS
    packed.mkdir(parents=True)
    statistics.mkdir(parents=True)
    header = ["split", "id", "height", "width", "own_height", "own_width"]
    samples = [[*header, "chroma_max", "chroma_p99", *(f"pixels_{i}" for i in ids)]]
    frequencies: list[list[Any]] = [["split", "name", "pixels"]]
    for split, pairs in splits.items():
        images, maps = zip(*pairs, strict=True) if pairs else ((), ())
        (packed / f"{split}.images.bin").write_bytes(b"".join(i.tobytes() for i in images))
        (packed / f"{split}.labels.bin").write_bytes(b"".join(m.tobytes() for m in maps))
        for index, labels in enumerate(maps):
            pixels = [np.sum(labels == i) for i in ids]
            samples.append([split, f"{split}_{index}", *labels.shape * 2, 200, 200, *pixels])
        for node in TREE.root.walk():
            pixels = [np.isin(labels, TREE.ids(node.name)).sum() for labels in maps]
            frequencies.append([split, node.name, sum(pixels)])
    for path, rows in [
        (packed / "samples.csv", samples),
        (statistics / "class_frequencies.csv", frequencies),
        (statistics / "grayscale.csv", [["id"], *([name] for name in gray)]),
    ]:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    write_checksums(packed)


def write_project(folder: Path, train: int = 9, val: int = 6, **changes: Any) -> Path:
    """A folder in which `python -m train_stage.train_expert` can run."""
    write_packed(folder, {"train": draw_pairs(train, 1), "val": draw_pairs(val, 2)})
    (folder / "params.yaml").write_text(json.dumps(sections(**changes)))
    return folder


def packed_split(folder: Path, pairs: list[Pair]) -> PackedSplit:
    write_packed(folder, {"train": pairs})
    return PackedSplit("train", folder / PACKED)
