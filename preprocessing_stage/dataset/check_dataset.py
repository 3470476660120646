"""Integrity of a data set: every problem of a folder at once, before anything is trained."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from preprocessing_stage.dataset.class_tree import BACKGROUND, IGNORE, ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    SPLITS,
    DatasetFolder,
    exif_orientation,
    read_image,
    read_labels,
)
from preprocessing_stage.dataset.prefetch import prefetch
from preprocessing_stage.dataset.user_error import UserError

Result = TypeVar("Result")

_ID = re.compile(r"[^/\\\0]+")
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


def listing_problems(
    folder: DatasetFolder, tree: ClassTree, splits: Sequence[str] = SPLITS
) -> list[str]:
    """Problems that show without opening a photograph: lists, missing files, class names.

    splits: whose lists are needed; others are not read.
    """
    if not folder.path.is_dir():
        return [f"{folder.path}: no such folder; set data.folder in params.yaml"]
    problems = class_problems(folder, tree)
    split_of: dict[str, str] = {}
    for split in splits:
        if outside := _outside(folder, folder.path / f"{split}_id.txt"):
            problems += outside
            continue
        try:
            ids = folder.ids(split)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{split}_id.txt: {error}; needs one id a line")
            continue
        if not ids:
            problems.append(f"{split}_id.txt: is empty; needs one id a line")
        problems += [
            f"{split}_id.txt: {sample!r} stands there {count} times; keep one"
            for sample, count in Counter(ids).items()
            if count > 1
        ]
        for sample in dict.fromkeys(ids):
            problems += _sample_problems(folder, split, sample)
            if sample in split_of:
                problems.append(f"{sample!r} is in train_id.txt and in val_id.txt; keep one")
            split_of[sample] = split
    said = {problem.partition(": ")[0] for problem in problems}
    return problems + [
        f"{name}: leads nowhere; remove the link"
        for name in _broken_links(folder.path)
        if name not in said
    ]


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


def _sample_problems(folder: DatasetFolder, split: str, sample: str) -> list[str]:
    if not _ID.fullmatch(sample) or sample in (".", ".."):
        return [f"{split}_id.txt: {sample!r} is no id; needs a file name without its ending"]
    problems = []
    for kind, found, suffixes in (
        ("JPEGImages", folder.image_paths(sample), IMAGE_SUFFIXES),
        ("gt_masks", folder.label_paths(sample), LABEL_SUFFIXES),
    ):
        if not found:
            problems.append(
                f"{kind}/{sample}: no file with one of the endings {' '.join(suffixes)}"
                f"{_there_is(folder, kind, sample)}; add it or take {sample!r} out of "
                f"{split}_id.txt"
            )
        elif len(found) > 1:
            names = " and ".join(path.name for path in found)
            problems.append(f"{kind}/{sample}: there are {names}; keep one")
        elif outside := _outside(folder, found[0]):
            problems += outside
        elif not found[0].is_file():  # a pipe would be waited for without end
            problems.append(f"{kind}/{found[0].name}: is no file; replace it")
    return problems


def _there_is(folder: DatasetFolder, kind: str, sample: str) -> str:
    """A file that may be meant, and why it is not taken."""
    for name in folder.alike(kind, sample):
        if kind == "gt_masks" and name.lower().endswith((".jpg", ".jpeg")):
            return f" (there is {name}; JPEG changes ids, export label maps as PNG)"
        if Path(name).stem == sample:
            return (
                f" (there is {name}; its ending has to be one of these, in small letters or in "
                "capitals: rename or convert it)"
            )
        if Path(name).stem.lower() == sample.lower():
            return f" (there is {name}; small and capital letters differ, write the id as the file)"
        return f" (there is {name}; an id is a file's name without its ending)"
    return ""


def _outside(folder: DatasetFolder, path: Path) -> list[str]:
    # Unlike Path.resolve, realpath bears a link that leads to itself.
    if Path(os.path.realpath(path)).is_relative_to(folder.path.resolve()):
        return []
    name = path.relative_to(folder.path).as_posix()
    return [f"{name}: leads out of the data set folder; replace the link by the file"]


def _broken_links(folder: Path) -> list[str]:
    """On each of them DVC ends when it takes the checksum of the folder."""
    paths = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    broken = (path for path in paths if path.is_symlink() and not path.exists())
    return sorted(path.relative_to(folder).as_posix() for path in broken)


def class_problems(folder: DatasetFolder, tree: ClassTree) -> list[str]:
    """Where `classes.txt` and the tree disagree."""
    if outside := _outside(folder, folder.path / "classes.txt"):
        return outside
    try:
        names = folder.class_names()
    except (OSError, ValueError) as error:
        return [f"classes.txt: {error}; needs one `<id>: <name>` a line"]
    wanted = tree.leaf_names
    problems = [
        f"classes.txt: id {i} is {names.get(i, 'absent')!r}, in the tree {name!r}; make them agree"
        for i, name in wanted.items()
        # Whatever is no class of the task may be called `bg`, `background`, `none`, ...
        if i != BACKGROUND and names.get(i) != name
    ]
    return problems + [
        f"classes.txt: id {i} ({name!r}) is not in the tree; add it there, or label its pixels 255 "
        "and take the line out"
        for i, name in names.items()
        if i not in wanted and i != IGNORE
    ]
