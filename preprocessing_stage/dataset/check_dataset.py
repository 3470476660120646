"""Integrity of samples: photographs and label maps that fit each other and the tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from PIL import Image

from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    DatasetFolder,
    exif_orientation,
    read_image,
    read_labels,
)
from preprocessing_stage.dataset.prefetch import prefetch
from preprocessing_stage.dataset.user_error import UserError

Result = TypeVar("Result")

_SHOWN = 20
MAX_IDS = 12
FEW_BLOCKS = 0.05
"""Share of an id's pixels with nothing but the id around them; below it, it is all edge."""


class DatasetError(UserError):
    """Everything that is wrong with a data set, one problem a line."""

    def __init__(self, folder: DatasetFolder, problems: list[str]) -> None:
        self.problems = problems
        shown = problems[:_SHOWN]
        if len(problems) > _SHOWN:
            shown.append(f"... and {len(problems) - _SHOWN} more")
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__("\n  ".join([f"data set {folder.path}: {count}", *shown]))


@dataclass(frozen=True)
class Pair:
    """A photograph and its label map, found to fit each other and the tree."""

    id: str
    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    labels: np.ndarray
    """(H, W) uint8."""

    @cached_property
    def pixels(self) -> np.ndarray:
        """(256,) int64: pixels of each label."""
        return histogram(self.labels)


def read_pair(folder: DatasetFolder, sample: str, tree: ClassTree) -> Pair | str:
    """A sample at its own size, or what is wrong with its files. Raises FileNotFoundError for one
    without them, which `listing_problems` finds."""
    image_path, label_path = folder.image_path(sample), folder.label_path(sample)
    try:
        image = read_image(image_path)
    except Exception as error:  # damaged files raise anything from struct.error to MemoryError
        return f"JPEGImages/{image_path.name}: {error}; replace the file"
    try:
        labels = read_labels(label_path)
    except Exception as error:
        return f"gt_masks/{label_path.name}: {error}; replace the file"
    if image.shape[:2] != labels.shape:
        size = f"label map {labels.shape[1]} x {labels.shape[0]}"
        if image.shape[1::-1] == labels.shape and exif_orientation(image_path) >= 5:
            return (
                f"{sample}: {size} fits the photograph as it is stored, which EXIF turns; import "
                "the data set with `--exif stored`"
            )
        return (
            f"{sample}: image is {image.shape[1]} x {image.shape[0]}, {size}; make their sizes "
            "equal"
        )
    pair = Pair(sample, image, labels)
    unknown = set(pair.pixels.nonzero()[0].tolist()) - set(tree.ids(tree.root.name)) - {IGNORE}
    if unknown:
        remedy = "add them there or label these pixels 255"
        thin = np.isin(labels[middle_of_its_like(labels)], list(unknown)).sum()
        if len(unknown) > 2 and thin < FEW_BLOCKS * np.isin(labels, list(unknown)).sum():
            remedy = (
                "they lie along edges only, as in label maps that were once saved as JPEG or "
                "scaled with interpolation: export it again as PNG"
            )
        ids = list_ids(unknown)
        return f"gt_masks/{label_path.name}: has ids {ids} that are not in the tree; {remedy}"
    return pair


def list_ids(ids: set[int]) -> str:
    """The ids, or the first ones of many."""
    first = ", ".join(map(str, sorted(ids)[:MAX_IDS]))
    return f"[{first}{', ...' if len(ids) > MAX_IDS else ''}]"


def middle_of_its_like(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose eight neighbours have their label; none at the edge."""
    result = np.zeros(labels.shape, bool)
    if min(labels.shape) < 3:
        return result
    inner = labels[1:-1, 1:-1]
    alike = np.ones(inner.shape, bool)
    height, width = inner.shape
    for y in range(3):
        for x in range(3):
            alike &= labels[y : y + height, x : x + width] == inner
    result[1:-1, 1:-1] = alike
    return result


def sound(folder: DatasetFolder, result: Result | str) -> Result:
    """`result` of `read_pair` or `read_pairs`. Raises DatasetError if it is a problem."""
    if isinstance(result, str):
        raise DatasetError(folder, [result])
    return result


def histogram(values: np.ndarray) -> np.ndarray:
    """(256,) int64: how often each value is in (H, W) uint8. Does not hold other threads up, as
    np.bincount and np.unique do."""
    return np.array(Image.fromarray(values).histogram())


def read_pairs(
    folder: DatasetFolder,
    ids: list[str],
    tree: ClassTree,
    prepare: Callable[[Pair], Result],
    most: int | None = None,
) -> Iterator[Result | str]:
    """`prepare` of each sample, or what is wrong with it, in the order of `ids`; on all cores.

    most: how many are kept in memory before their turn, None = 16 for each core.
    """

    def read(sample: str) -> Result | str:
        pair = read_pair(folder, sample, tree)
        return pair if isinstance(pair, str) else prepare(pair)

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        yield from prefetch(pool, read, ids, most or 16 * workers)


def coverage_problems(tree: ClassTree, pixels: Mapping[str, np.ndarray]) -> list[str]:
    """Experts that would have nothing to train or to validate on.

    pixels: split -> (256,) pixels of each leaf id in all label maps as they are packed.
    """
    problems = []
    for split, counts in pixels.items():
        empty = {name for name in tree.experts if not counts[list(tree.ids(name))].any()}
        problems += [
            f"{split}_id.txt: no sample has a pixel of {name!r}, which an expert splits; "
            f"add samples that do, or take {name!r} out of the tree"
            for name in tree.experts
            # What lies below an empty region is empty anyway.
            if name in empty and getattr(tree.parent(name), "name", None) not in empty
        ]
        if split == "train":
            problems += _alone(tree, counts, empty)
    return problems


def _alone(tree: ClassTree, counts: np.ndarray, empty: set[str]) -> list[str]:
    """A child that is all there is, so that nothing can be learnt at all.

    empty: experts whose region is, which is said already.
    """
    children = {
        child.name: counts[list(tree.ids(child.name))].any() for child in tree.root.children
    }
    present = [name for name, occurs in children.items() if occurs]
    others = [name for name in children if name not in present]
    if len(present) != 1 or empty.intersection(others):
        return []
    return [
        f"train_id.txt: all pixels are {present[0]!r}, none is {' or '.join(map(repr, others))}; "
        "write the ids of the tree into the label maps (255 is ignored)"
    ]
