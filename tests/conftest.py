"""A tiny data set, two class trees and a tiny params file, for all tests."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from tiny_network import TINY_NETWORK

from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree, tree_problems
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, write_labels, write_listing
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.params import read_yaml

ROOT = Path(__file__).parent.parent

# The same examples in every run, whatever an earlier one found and however slow the machine.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same")

# Over the values of params.yaml: as small as may be, and all that fits together or not.
TINY = {
    "data.folder": "data/rendered_people",
    "data.longest_side": 32,
    "render_people": {"seed": 0, "train": 4, "val": 2, "size": 32},
    "train.input_size": 32,
    "train.encoder_weights": None,
    "train.init_from": None,
    "train.model": TINY_NETWORK,
    "train.regions": "labelled",
    "out_of_fold.map_size": 16,
    "out_of_fold.training": {},
    "train.batch_size": 4,
    "train.epochs": 1,
    "train.high_resolution": None,
    "train.decoder_epochs": 1,
    "train.examples_every": 1,
    "final.bootstrap": 100,
    "final.examples": 2,
}


@pytest.fixture(scope="session")
def repo_params() -> dict[str, Any]:
    """The sections of the repo's params.yaml; not to be changed."""
    return read_yaml(ROOT / "params.yaml")


@pytest.fixture(scope="session")
def tree(repo_params) -> ClassTree:
    """The seven leaves of params.yaml."""
    return ClassTree(repo_params["tree"])


@pytest.fixture(scope="session")
def deep_tree() -> ClassTree:
    """Four levels, five inner nodes, a leaf at level 1, ids with gaps."""
    front = {"skull": 17, "fore_leg": {"hoof": 3, "shin": 90}}
    rear = {"rump": 41, "hind_leg": 5}
    animal = {"tail": 200, "front": front, "rear": rear}
    return ClassTree({"scene": {"background": 0, "animal": animal}})


@pytest.fixture(scope="session")
def make_dataset(tree) -> Callable[..., DatasetFolder]:
    """make_dataset(folder, tree=..., train=.., val=.., size=..): write a data set.

    Every sample has a blob of every leaf of the foreground, in the leaf's colour. Images are
    `size` pixels at their longest side, upright and lying in turns, with ids `train_000`, ...
    """

    def make(
        folder: Path, tree: ClassTree = tree, train: int = 3, val: int = 2, size: int = 32
    ) -> DatasetFolder:
        for name in ("JPEGImages", "gt_masks"):
            (folder / name).mkdir(parents=True)
        colours = palette(tree)
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for split, count in (("train", train), ("val", val)):
            for index in range(count):
                rng = np.random.default_rng([len(split), index])
                shape = (size, size * 3 // 4) if index % 2 else (size * 3 // 4, size)
                labels = blobs(tree, shape, rng)
                image = colours[labels] * 0.8 + rng.uniform(0, 50, (*shape, 3))
                name = f"{split}_{index:03d}"
                Image.fromarray(image.astype(np.uint8)).save(folder / f"JPEGImages/{name}.jpg")
                write_labels(folder / f"gt_masks/{name}.png", labels, colours)
                splits[split].append(name)
        write_listing(folder, splits, tree.leaf_names)
        return DatasetFolder(folder)

    return make


@pytest.fixture
def folder(make_dataset, tmp_path) -> DatasetFolder:
    """A small data set: four samples to train on, two to validate."""
    return make_dataset(tmp_path / "data", train=4)


def blobs(tree: ClassTree, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Label map of `shape`, uint8: an ellipse of every leaf, each in a cell of its own."""
    labels = np.full(shape, BACKGROUND, np.uint8)
    ids = [leaf.id for leaf in tree.leaves if leaf.id != BACKGROUND]
    side = int(np.ceil(len(ids) ** 0.5))
    cell = np.array(shape) / side
    for leaf, place in zip(ids, rng.permutation(side**2), strict=False):
        middle = (np.array(divmod(place, side)) + 0.5) * cell
        radius = cell * rng.uniform(0.3, 0.5, 2)
        y, x = np.ogrid[: shape[0], : shape[1]]
        inside = ((y + 0.5 - middle[0]) / radius[0]) ** 2 + ((x + 0.5 - middle[1]) / radius[1]) ** 2
        labels[inside < 1] = leaf
    return labels


@pytest.fixture(scope="session")
def tiny_params(repo_params, tree) -> Callable[..., dict[str, Any]]:
    """tiny_params(**changes): sections of a complete, tiny params file.

    A change is a dotted key and its new value, `...` takes the key out. `experts` has those of the
    (changed) tree, without overrides.
    """

    def make(**changes: Any) -> dict[str, Any]:
        sections = copy.deepcopy(repo_params)
        experts = tree.experts
        if not tree_problems(changes.get("tree")):
            experts = ClassTree(changes["tree"]).experts
        sections["shared"] = {}
        sections["experts"] = {name: {} for name in experts}
        for key, value in (TINY | changes).items():
            *above, last = key.split(".")
            section = sections
            for name in above:
                section = section.setdefault(name, {})
            section.pop(last, None)
            if value is not ...:
                section[last] = copy.deepcopy(value)
        return sections

    return make


@pytest.fixture(scope="session")
def params_file(tiny_params) -> Callable[..., Path]:
    """params_file(folder, **changes): write `tiny_params` to folder/params.yaml."""

    def write(folder: Path, **changes: Any) -> Path:
        path = folder / "params.yaml"
        YAML().dump(tiny_params(**changes), path)  # typ="safe" would sort the tree
        return path

    return write


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory) -> Path:
    """A folder in which the expert `person` was trained from beginning to end; only to be read."""
    from train_fixtures import write_project  # torch, which tests without it need not load
    from train_runs import train

    folder = write_project(tmp_path_factory.mktemp("unbroken"))
    train(folder)
    return folder


@pytest.fixture(scope="session")
def segmenter_folder(tmp_path_factory) -> Path:
    """A saved segmenter of random weights; only to be read."""
    from tiny_segmenter import tiny_segmenter

    folder = tmp_path_factory.mktemp("segmenter")
    tiny_segmenter().save(folder)
    return folder


@pytest.fixture
def place(tmp_path, segmenter_folder, monkeypatch) -> Path:
    """A folder to work in, with a segmenter where predict looks for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(segmenter_folder, "models/segmenter")
    return tmp_path
