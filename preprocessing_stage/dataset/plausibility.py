"""What is allowed in a data set but seldom meant: found while it is packed, for people to judge."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from preprocessing_stage.dataset.check_dataset import FEW_BLOCKS, Pair, middle_of_its_like
from preprocessing_stage.dataset.class_tree import BACKGROUND, IGNORE, ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, exif_orientation

MUCH_IGNORED = 0.5
MUCH_AT_BORDERS = 0.6
ENOUGH_SAMPLES = 20
"""In each split, for its shares of pixels to mean something."""
FAR_APART = 10
"""Ratio of a class's shares of the pixels of both splits."""
RARE = 0.01
NAMES_OF_BACKGROUND = ("background", "bg", "none", "nothing", "void", "other")


@dataclass(frozen=True)
class Signs:
    """What is noted of a sample."""

    pixels: np.ndarray
    """(256,) int64 of each label."""
    blocks: np.ndarray
    """(256,) int64: those in the middle of 3 x 3 pixels of their label."""
    border: int
    """Label that most pixels at the edge of the image have."""
    digest: str
    """Of the photograph."""
    orientation: int
    """By EXIF."""
    colours: frozenset[tuple[int, str]]
    """Label and `#rrggbb` that the label map's palette gives it; empty without a palette."""


def signs(folder: DatasetFolder, pair: Pair) -> Signs:
    """Of a sample that was read from the folder."""
    image_path, label_path = folder.image_path(pair.id), folder.label_path(pair.id)
    labels = pair.labels
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return Signs(
        pair.pixels,
        np.bincount(labels[middle_of_its_like(labels)], minlength=256),
        int(np.bincount(edge).argmax()),
        hashlib.sha256(pair.image.tobytes()).hexdigest(),
        exif_orientation(image_path),
        _colours(label_path, pair.pixels.nonzero()[0].tolist()),
    )


def _colours(label_path: Path, labels: Sequence[int]) -> frozenset[tuple[int, str]]:
    if label_path.suffix.lower() != ".png":
        return frozenset()
    with Image.open(label_path) as picture:
        palette = bytes(picture.getpalette() or [])
    rows = {i: palette[3 * i : 3 * i + 3] for i in labels if i != IGNORE}
    return frozenset((i, f"#{row.hex()}") for i, row in rows.items() if row)


def findings(tree: ClassTree, splits: Mapping[str, Sequence[tuple[str, Signs]]]) -> list[str]:
    """Sentences about a data set that name what was found and what may be meant.

    splits: split -> id and signs of its samples.
    """
    samples = [sign for some in splits.values() for _, sign in some]
    totals = {
        split: np.sum([sign.pixels for _, sign in some], axis=0) for split, some in splits.items()
    }
    return [
        *_ignored(splits, sum(totals.values())),
        *_absent(tree, totals),
        *_shares(tree, splits, totals),
        *_background(tree, samples),
        *_edges(tree, samples),
        *_palettes(samples),
        *_turned(samples),
        *_in_both(splits),
    ]


def _ignored(splits: Mapping[str, Sequence[tuple[str, Signs]]], total: np.ndarray) -> list[str]:
    found = []
    if (share := total[IGNORE] / total.sum()) > MUCH_IGNORED:
        found.append(
            f"{100 * share:.0f} % of all pixels are 255, which is ignored in training and figures"
        )
    two = [
        name
        for some in splits.values()
        for name, sign in some
        if set(sign.pixels.nonzero()[0].tolist()) == {BACKGROUND, IGNORE}
    ]
    if two:
        found.append(
            f"{_count(two, 'label map')} nothing but 0 and 255 ({_some(two)}): 255 is ignored; "
            "if it means a class there, write the class's id"
        )
    return found


def _absent(tree: ClassTree, totals: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for split, pixels in totals.items():
        names = [name for i, name in tree.leaf_names.items() if not pixels[i]]
        if names:
            found.append(
                f"no pixel of the {split} split is {_or(names)}: it is never "
                f"{'learnt' if split == 'train' else 'measured'}"
            )
    return found


def _shares(
    tree: ClassTree,
    splits: Mapping[str, Sequence[tuple[str, Signs]]],
    totals: Mapping[str, np.ndarray],
) -> list[str]:
    if min(map(len, splits.values())) < ENOUGH_SAMPLES:
        return []
    found = []
    for i, name in tree.leaf_names.items():
        shares = {s: n[i] / n[:IGNORE].sum() for s, n in totals.items()}
        low, high = min(shares.values()), max(shares.values())
        if high > RARE and 0 < low < high / FAR_APART:
            said = " and ".join(
                f"{100 * share:.2f} % of the {split} pixels" for split, share in shares.items()
            )
            found.append(f"{name!r} is {said}: look whether both splits number their classes alike")
    return found


def _background(tree: ClassTree, samples: Sequence[Signs]) -> list[str]:
    found = [
        f"{name!r} has id {i}: a background is left out of means only with id {BACKGROUND}"
        for i, name in tree.leaf_names.items()
        if name.lower() in NAMES_OF_BACKGROUND and i != BACKGROUND
    ]
    label, count = Counter(sign.border for sign in samples).most_common(1)[0]
    if not found and label not in (BACKGROUND, IGNORE) and count > MUCH_AT_BORDERS * len(samples):
        found.append(
            f"{tree.leaf_names[label]!r} (id {label}) fills the edges of {count} of "
            f"{len(samples)} images: if it is the background, give it id {BACKGROUND}"
        )
    return found


def _edges(tree: ClassTree, samples: Sequence[Signs]) -> list[str]:
    pixels = np.sum([sign.pixels for sign in samples], axis=0)
    blocks = np.sum([sign.blocks for sign in samples], axis=0)
    thin = [
        name
        for i, name in tree.leaf_names.items()
        if pixels[i] > 0 and blocks[i] < FEW_BLOCKS * pixels[i]
    ]
    if not thin:
        return []
    return [
        f"{_or(thin)} lies in strips of one or two pixels only: label maps that were once saved as "
        "JPEG, or scaled with interpolation, have such ids along the edges of others; export them "
        "again as PNG"
    ]


def _palettes(samples: Sequence[Signs]) -> list[str]:
    seen: dict[int, set[str]] = defaultdict(set)
    for i, colour in set().union(*(sign.colours for sign in samples)):
        seen[i].add(colour)
    odd = sorted(i for i, colours in seen.items() if len(colours) > 1)
    if not odd:
        return []
    colours = sorted(seen[odd[0]])
    return [
        f"the palettes of the label maps disagree, so that id {odd[0]} is {colours[0]} in one and "
        f"{colours[1]} in another: values are taken as ids, whatever the colours; if colours mean "
        "classes, import the data set with `python -m preprocessing_stage.converters masks` and "
        "without --classes"
    ]


def _turned(samples: Sequence[Signs]) -> list[str]:
    turned = [sign for sign in samples if sign.orientation not in (0, 1)]
    if not turned:
        return []
    return [
        f"EXIF turns or mirrors {len(turned)} of {len(samples)} photographs, and their label maps "
        "are taken to fit what is then seen; if they fit the photographs as they are stored, "
        "import the data set with `--exif stored`"
    ]


def _in_both(splits: Mapping[str, Sequence[tuple[str, Signs]]]) -> list[str]:
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for split, some in splits.items():
        for name, sign in some:
            names[sign.digest].setdefault(split, name)
    both = [" = ".join(one.values()) for one in names.values() if len(one) > 1]
    if not both:
        return []
    return [
        f"{_count(both, 'photograph')} in both splits ({_some(both)}): take them out of one, or "
        "the figures flatter"
    ]


def _count(found: Sequence[str], what: str) -> str:
    has = "is" if what == "photograph" else "has"
    have = "are" if what == "photograph" else "have"
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'} {has if len(found) == 1 else have}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _or(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
