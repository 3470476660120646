"""What all benchmarks run on: rendered people, repeated as often as needed, in folders apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from preprocessing_stage import class_frequencies, find_grayscale, pack_samples
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    SPLITS,
    DatasetFolder,
    read_image,
    read_labels,
    write_labels,
    write_listing,
)
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.params import RenderPeopleParams, load_preprocessing_params, read_yaml
from preprocessing_stage.paths import PARAMS_FILE
from preprocessing_stage.render_people import render_people
from train_stage.params import merge
from train_stage.task import Task

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    repeats: int = 3
    """Of what takes turns; the median counts."""
    rendered: int = 60
    """People that are rendered; more are copies under other ids."""
    photograph: int = 500
    """Longest side in pixels of what stands for photographs, as in Pascal VOC."""
    preprocessed: int = 120
    """Photographs of the first pass."""
    trained: int = 80
    """Images of an epoch."""
    segmented: int = 32
    """Photographs of a folder to be segmented."""
    latencies: int = 8
    """Of them, those that are segmented one by one."""
    spread: int = 64
    """Photographs of a folder for Ray's workers, two batches of 16 for each of two."""
    product: int = 4096
    """Side of the matrices of the product that training is held against."""
    growth_base: int = 24
    growth_factors: tuple[int, ...] = (1, 4, 16)
    """Times the images of `growth_base`."""


TINY = Scale(
    repeats=1,
    rendered=6,
    photograph=64,
    preprocessed=6,
    trained=8,
    segmented=3,
    latencies=1,
    spread=3,
    product=128,
    growth_base=6,
    growth_factors=(1, 2),
)
"""Shows that everything runs; its figures mean nothing."""


@dataclass(frozen=True)
class Setup:
    people: DatasetFolder
    """Rendered people in both splits."""
    params: Path
    """The params file whose networks are measured."""
    segmenter: Path
    """Folder of the chain that is measured."""
    folder: Path
    """To work in."""
    scale: Scale

    @property
    def tree(self) -> ClassTree:
        return load_preprocessing_params(self.params).class_tree


def render(out: Path, params: Path, count: int) -> DatasetFolder:
    """`count` people as the pipeline renders them, a fifth of them to validate on."""
    own = load_preprocessing_params(params)
    val = max(2, count // 5)
    wanted = RenderPeopleParams(
        seed=own.render_people.seed,
        train=max(2, count - val),
        val=val,
        size=own.render_people.size,
    )
    render_people(wanted, palette(own.class_tree), out)
    return DatasetFolder(out)


def copies(
    people: DatasetFolder,
    out: Path,
    tree: ClassTree,
    counts: Mapping[str, int],
    side: int | None = None,
) -> DatasetFolder:
    """People under new ids, `counts` of each split, as often as it takes.

    side: longest side in pixels that they are scaled to, saved as a camera would (JPEG, quality
    90); None = the same files.
    """
    for name in ("JPEGImages", "gt_masks"):
        (out / name).mkdir(parents=True)
    colours = palette(tree)
    ids: dict[str, list[str]] = {}
    for split in SPLITS:
        ids[split] = [f"{split}_{index:05d}" for index in range(counts[split])]
        for new, old in zip(ids[split], cycle(people.ids(split)), strict=False):
            image, labels = people.image_path(old), people.label_path(old)
            if side is None:
                shutil.copy(image, out / "JPEGImages" / f"{new}{image.suffix}")
                shutil.copy(labels, out / "gt_masks" / f"{new}{labels.suffix}")
                continue
            picture = Image.fromarray(read_image(image))
            factor = side / max(picture.size)
            size = round(picture.width * factor), round(picture.height * factor)
            enlarged = picture.resize(size, Image.Resampling.BICUBIC)
            enlarged.save(out / "JPEGImages" / f"{new}.jpg", quality=90)
            enlarged = Image.fromarray(read_labels(labels)).resize(size, Image.Resampling.NEAREST)
            write_labels(out / "gt_masks" / f"{new}.png", np.asarray(enlarged), colours)
    write_listing(out, ids, tree.leaf_names)
    return DatasetFolder(out)


def make_workspace(
    folder: Path, data: DatasetFolder, params: Path, changes: Mapping[str, Any] | None = None
) -> Path:
    """A folder in which the stages run on `data`: its params.yaml is `params` with changes."""
    folder.mkdir(parents=True, exist_ok=True)
    own = merge(read_yaml(params), {"data": {"folder": str(data.path.absolute())}})
    (folder / PARAMS_FILE).write_text(json.dumps(merge(own, changes or {})))
    return folder


def preprocess(workspace: Path) -> None:
    """Pack the data of a workspace and make the statistics that training reads."""
    with chdir(workspace):
        pack_samples.main()
        class_frequencies.main()
        find_grayscale.main()


def untrained(expert: str) -> Task:
    """The training of an expert by params.yaml, but from random weights: no other comes before."""
    task = Task.of_expert(expert)
    return replace(task, params=task.params.model_copy(update={"init_from": None}))
