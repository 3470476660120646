"""The first pass over a data set: check, scale down, class frequencies, gray photographs."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rows import Row
from benchmarks.setup import Setup, copies
from benchmarks.timing import interleaved
from preprocessing_stage.class_frequencies import class_frequencies
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.dataset.packed_samples import sample_rows
from preprocessing_stage.find_grayscale import find_grayscale
from preprocessing_stage.pack_samples import pack
from preprocessing_stage.params import load_preprocessing_params


@dataclass(frozen=True)
class Preprocessing:
    """Images a second."""

    images: int
    ours: float
    loops: float
    """Four plain loops, one task after another."""
    decoding: float
    """All JPEGs decoded on all cores, and nothing else."""

    def rows(self) -> list[Row]:
        return [
            Row("first pass", self.ours, "images/s", "plain loops", self.loops, ">= 3"),
            Row("first pass", self.ours, "images/s", "decoding alone", self.decoding, ">= 0.67"),
        ]


@dataclass(frozen=True)
class Findings:
    """What both ways must find alike."""

    pixels: dict[str, int]
    """Leaf -> pixels of the training split as scaled down, to whole ones."""
    gray: set[str]


def measure(setup: Setup) -> Preprocessing:
    data, scale = load_preprocessing_params(setup.params).data, setup.scale
    val = max(1, scale.preprocessed // 6)
    counts = {"train": scale.preprocessed - val, "val": val}
    folder = setup.folder / "preprocessing"
    photographs = copies(setup.people, folder / "data", setup.tree, counts, scale.photograph)
    (folder / "loops").mkdir()
    task = (photographs, setup.tree, data.longest_side, data.near_gray_chroma)
    tasks: dict[str, Callable[[], object]] = {
        "loops": partial(plain_loops, *task, folder / "loops"),
        "ours": partial(first_pass, *task, folder / "packed"),
        "decoding": partial(decode_all, photographs),
    }
    seconds = interleaved(tasks, scale.repeats)
    images = sum(counts.values())
    return Preprocessing(images, **{name: images / some for name, some in seconds.items()})


def first_pass(
    folder: DatasetFolder, tree: ClassTree, longest_side: int, near_gray: int, out: Path
) -> Findings:
    """Ours: what the stages do, without the picture of the frequencies."""
    pack(folder, tree, longest_side, out)
    rows = sample_rows(out)
    pixels = {
        row.name: row.pixels
        for row in class_frequencies(rows, tree)
        if row.split == "train" and row.name in tree.leaf_names.values()
    }
    gray, _ = find_grayscale(rows, near_gray)
    return Findings(pixels, {sample for _, sample, _, _ in gray})


def plain_loops(
    folder: DatasetFolder, tree: ClassTree, longest_side: int, near_gray: int, out: Path
) -> Findings:
    """As one writes it: a loop a task, each opens the files that it needs."""
    images, masks = folder.path / "JPEGImages", folder.path / "gt_masks"
    ids = [sample for split in SPLITS for sample in folder.ids(split)]
    known = list(tree.ids(tree.root.name))

    for sample in ids:  # check
        image = np.array(Image.open(images / f"{sample}.jpg").convert("RGB"))
        labels = np.array(Image.open(masks / f"{sample}.png"))
        if image.shape[:2] != labels.shape or not np.isin(np.unique(labels), [*known, 255]).all():
            raise ValueError(f"{sample} is damaged")

    for sample in ids:  # scale down
        picture = Image.open(images / f"{sample}.jpg").convert("RGB")
        mask = Image.open(masks / f"{sample}.png")
        factor = min(1.0, longest_side / max(picture.size))
        size = round(picture.width * factor), round(picture.height * factor)
        small = np.array(picture.resize(size, Image.Resampling.BICUBIC))
        np.save(out / f"{sample}_image.npy", small)
        np.save(out / f"{sample}_mask.npy", np.array(mask.resize(size, Image.Resampling.NEAREST)))

    pixels = dict.fromkeys(tree.leaf_names.values(), 0.0)
    for sample in folder.ids("train"):  # class frequencies
        labels = np.array(Image.open(masks / f"{sample}.png"))
        scale = np.load(out / f"{sample}_mask.npy").size / labels.size
        for i, name in tree.leaf_names.items():
            pixels[name] += (labels == i).sum() * scale
    for sample in folder.ids("val"):
        labels = np.array(Image.open(masks / f"{sample}.png"))
        for i in tree.leaf_names:
            (labels == i).sum()

    gray = set()
    for sample in ids:  # gray photographs
        image = np.array(Image.open(images / f"{sample}.jpg").convert("RGB"))
        chroma = image.max(axis=2) - image.min(axis=2)
        if np.percentile(chroma, 99) < near_gray:
            gray.add(sample)
    return Findings({name: ceil(count) for name, count in pixels.items()}, gray)


def decode_all(folder: DatasetFolder) -> None:
    """The least that any first pass has to do."""

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            image.convert("RGB").load()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, sorted((folder.path / "JPEGImages").iterdir())))
