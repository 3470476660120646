"""Label maps as pictures: ids of 8, 16 or 32 bits, palettes, or colours named by a labelmap.txt."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from preprocessing_stage.converters.known_classes import KNOWN_CLASSES
from preprocessing_stage.converters.source import (
    IGNORED,
    Source,
    SourceSample,
    files,
    photographs,
    sample_id,
)
from preprocessing_stage.dataset.class_tree import IGNORE

Colour = tuple[int, int, int]

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

_WAS_JPEG = "a mask that was once saved as JPEG has such edges; export it again as PNG"


def read_label_colours(path: Path) -> dict[Colour, str]:
    """Colour -> class from CVAT's labelmap.txt, `name:r,g,b:parts:actions` a line.

    Raises ValueError that names each line that is another.
    """
    colours: dict[Colour, str] = {}
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([^:]+):(\d+),(\d+),(\d+)(:.*)?", line.strip())
        if match is None:
            problems.append(f"line {number}: {line!r} is not `name:r,g,b::`")
            continue
        colour = (int(match[2]), int(match[3]), int(match[4]))
        if colour in colours:
            problems.append(f"line {number}: {match[1]} has the colour of {colours[colour]}")
        colours[colour] = match[1].strip()
    if problems:
        raise ValueError("\n  ".join([f"{path}:", *problems]))
    return colours


def read_class_names(name: str) -> dict[int, str]:
    """Source id -> class: of a public data set, or of a file with a name a line or, in every line,
    `<id>: <name>` or `<id> <name>`. Raises ValueError with all problems.
    """
    if name in KNOWN_CLASSES:
        return dict(enumerate(KNOWN_CLASSES[name]))
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"--classes {name}: no such file, and no known data set; they are "
            f"{', '.join(KNOWN_CLASSES)}"
        )
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    matches = [re.fullmatch(r"\s*(\d+)\s*[:,\t ]\s*(.+?)\s*", line) for line in lines]
    found = [(int(match[1]), match[2]) for match in matches if match]
    hint = ", and all lines an id if the number is part of the name, as in `0: 1 euro`"
    if len(found) < len(lines):  # names, some of which begin with a number
        found, hint = list(enumerate(line.strip() for line in lines)), ""
    names: defaultdict[int, list[str]] = defaultdict(list)
    ids: defaultdict[str, list[int]] = defaultdict(list)
    for i, own in found:
        names[i].append(own)
        ids[own].append(i)
    problems = [
        f"id {i} is {' and '.join(some)}; keep one" for i, some in names.items() if len(some) > 1
    ]
    problems += [
        f"{own} has the ids {', '.join(map(str, some))}; give each class a name of its own{hint}"
        for own, some in ids.items()
        if len({*some}) > 1
    ]
    if problems:
        raise ValueError("\n  ".join([f"{path}:", *problems]))
    return dict(found)


def mask_source(
    folders: Mapping[str, tuple[Path, Path]],
    classes: Mapping[int, str] | None,
    colours: Mapping[Colour, str] | None,
) -> Source:
    """A source of photographs and masks with equal stems.

    folders: split -> folders of its photographs and of its masks; those under "" have no split. Ids
    that are of another photograph in each split begin with the split. classes: of masks that hold
    ids. colours: of masks in colour. Without either, each colour of the masks is a class. Raises
    ValueError.
    """
    masks = {split: _masks(folder) for split, (_, folder) in folders.items()}
    if classes is None:
        colours = colours or found_colours([path for paths in masks.values() for path in paths])
        classes = dict(enumerate(dict.fromkeys(colours.values())))
    table = None
    if colours is not None:
        id_of = {name: i for i, name in classes.items()}
        table = {colour: id_of[name] for colour, name in colours.items()}
    pairs = {split: _pairs(*folders[split], masks[split]) for split in folders}
    named: dict[str, set[Path]] = {}
    for some in pairs.values():
        for sample, _, photograph in some:
            named.setdefault(sample, set()).add(photograph)
    samples: list[SourceSample] = []
    splits: dict[str, list[str]] = {}
    for split, some in pairs.items():
        for sample, path, photograph in some:
            own = f"{split}_{sample}" if len(named[sample]) > 1 else sample
            samples.append(SourceSample(own, photograph, partial(read_mask, path, table)))
            splits.setdefault(split, []).append(own)
    return Source(classes, samples, splits if "" not in splits else {})


def _masks(folder: Path) -> list[Path]:
    paths = files(folder, MASK_SUFFIXES)
    if not paths:
        jpeg = any(files(folder, (".jpg", ".jpeg")))
        remedy = "; JPEG changes ids and colours, export them as PNG" if jpeg else ""
        raise ValueError(f"{folder}: has no mask; they end in {', '.join(MASK_SUFFIXES)}{remedy}")
    return paths


def _pairs(images: Path, folder: Path, masks: Sequence[Path]) -> list[tuple[str, Path, Path]]:
    """Id, mask and photograph. Raises ValueError that names each mask without a photograph."""
    there = photographs(images)
    ids = [sample_id(path.relative_to(folder)) for path in masks]
    problems = []
    for sample, path in zip(ids, masks, strict=True):
        found = there.get(sample, [])
        if not found:
            name = path.relative_to(folder).with_suffix("").as_posix()
            problems.append(f"has no {name}.jpg, .jpeg or .png")
        elif len(found) > 1:
            problems.append(f"has {', '.join(path.name for path in found)}; keep one of them")
    if problems:
        more = [f"... and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise ValueError("\n  ".join([f"{images}:", *problems[:20], *more]))
    return [(sample, path, there[sample][0]) for sample, path in zip(ids, masks, strict=True)]


def found_colours(masks: Sequence[Path]) -> dict[Colour, str]:
    """All colours of masks in colour or with palettes -> `#rrggbb`. Raises ValueError."""
    found: set[int] = set()
    for path in masks:
        if path.suffix.lower() == ".npy":
            raise ValueError(f"{path}: holds ids; give --classes")
        with Image.open(path, formats=("PNG", "TIFF")) as picture:
            if picture.mode not in ("RGB", "RGBA", "P"):
                raise ValueError(f"{path}: holds ids; give --classes")
            found.update(np.unique(_packed(np.asarray(picture.convert("RGB")))).tolist())
        if len(found) > IGNORE:
            raise ValueError(f"{path}: with it there are more than {IGNORE} colours; {_WAS_JPEG}")
    return {(v >> 16, v >> 8 & 255, v & 255): f"#{v:06x}" for v in sorted(found)}


def read_mask(path: Path, colours: Mapping[Colour, int] | None) -> np.ndarray:
    """Source ids (H, W) int32 of a mask; 255 of 8-bit ids is IGNORED, as in Pascal VOC.

    colours: RGB -> id of a mask in colour; its own other colours are a ValueError.
    """
    if path.suffix.lower() == ".npy":
        array = np.load(path, allow_pickle=False)
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise ValueError(f"{path.name}: is {array.dtype} {array.shape}, needs integers (H, W)")
        return _with_ignored(array, array.dtype == np.uint8)
    with Image.open(path, formats=("PNG", "TIFF")) as picture:
        if colours is not None:
            return _ids_of_colours(np.asarray(picture.convert("RGB")), colours)
        if picture.mode not in ("P", "L", "1") and not picture.mode.startswith("I"):
            raise ValueError(
                f"{path.name}: mode is {picture.mode}, needs ids (gray or palette); give "
                "--labelmap for masks in colour"
            )
        # Pillow spreads gray of 2 and 4 bits over 0..255, which changes the ids.
        if str(picture.tile[0].args).startswith("L;"):
            raise ValueError(f"{path.name}: gray of fewer than 8 bits; save it with 8")
        return _with_ignored(np.asarray(picture), picture.mode in ("P", "L"))


def _with_ignored(labels: np.ndarray, is_small: bool) -> np.ndarray:
    ids: np.ndarray = labels.astype(np.int32)
    return np.where(ids == IGNORE, IGNORED, ids) if is_small else ids


def _ids_of_colours(pixels: np.ndarray, colours: Mapping[Colour, int]) -> np.ndarray:
    """RGB (H, W, 3) uint8 -> source ids (H, W) int32."""
    packed = _packed(pixels)
    found, places = np.unique(packed, return_inverse=True)
    id_of = {(r << 16) | (g << 8) | b: i for (r, g, b), i in colours.items()}
    if unknown := [f"#{value:06x}" for value in found.tolist() if value not in id_of]:
        shown = ", ".join(unknown[:5])
        raise ValueError(
            f"{len(unknown)} colours are not in labelmap.txt, such as {shown}; add them, or "
            f"if they lie along edges: {_WAS_JPEG}"
        )
    return np.array([id_of[v] for v in found.tolist()], np.int32)[places].reshape(packed.shape)


def _packed(pixels: np.ndarray) -> np.ndarray:
    """RGB (H, W, 3) uint8 -> 0xrrggbb (H, W) int32."""
    packed: np.ndarray = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed
