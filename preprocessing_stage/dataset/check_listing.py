"""Integrity of a data set's listing: what shows without opening a photograph, all at once."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from preprocessing_stage.dataset.class_tree import BACKGROUND, IGNORE, ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    SPLITS,
    DatasetFolder,
)

_ID = re.compile(r"[^/\\\0]+")


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
        if normalize("NFC", Path(name).stem) == normalize("NFC", sample):
            return (
                f" (there is {name}, which looks alike but has its accents as letters of their "
                "own, or in one with others: copy its name into the list)"
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
