"""Write a data set folder from a source, and a profile that trains on it."""

from __future__ import annotations

import random
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps
from ruamel.yaml import YAML
from tqdm import tqdm

from preprocessing_stage.converters.class_mapping import ClassMapping
from preprocessing_stage.converters.source import Source, SourceSample
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.class_tree import ClassTree, unlisted_sides
from preprocessing_stage.dataset.dataset_folder import (
    IMAGE_SUFFIXES,
    DatasetFolder,
    exif_orientation,
    write_labels,
    write_listing,
)
from preprocessing_stage.dataset.prefetch import prefetch
from preprocessing_stage.drawing.palette import palette


def split_randomly(ids: list[str], val_share: float, seed: int) -> dict[str, list[str]]:
    """`ids` in two, each in their order and, given two ids or more, with one at least.

    Raises ValueError for a share that is none.
    """
    if not 0 < val_share < 1:
        raise ValueError(f"--val-share {val_share:g}: is no share between 0 and 1")
    count = min(max(round(val_share * len(ids)), 1), max(len(ids) - 1, 0))
    val = set(random.Random(seed).sample(ids, count))
    return {"train": [i for i in ids if i not in val], "val": [i for i in ids if i in val]}


def import_dataset(
    source: Source,
    mapping: ClassMapping,
    out: Path,
    splits: Mapping[str, list[str]],
    *,
    masks_are_stored: bool = False,
) -> None:
    """Write the new folder `out`. Raises DatasetError with all problems and leaves no folder.

    splits: train and val -> ids. masks_are_stored: label maps fit the photographs as they are
    stored, before their EXIF orientation turns them; else as they are shown.
    """
    problems = _split_problems(source, splits)
    if out.exists():
        problems.append(f"{out}: exists; remove it or choose another folder")
    if problems:
        raise DatasetError(DatasetFolder(out), problems)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as beside:
        part = Path(beside, out.name)
        wanted = {sample for ids in splits.values() for sample in ids}
        samples = [sample for sample in source.samples if sample.id in wanted]
        problems = _write_samples(samples, mapping, part, masks_are_stored)
        if problems:
            raise DatasetError(DatasetFolder(out), problems)
        write_listing(part, splits, mapping.tree.leaf_names)
        YAML().dump(profile(mapping.tree, out), part / profile_path(out).name)
        part.rename(out)


def profile_path(out: Path) -> Path:
    """In the data set folder `out` and called like it, as a run is called like its profile."""
    return out / f"{out.absolute().name}.yaml"


def profile(tree: ClassTree, out: Path) -> dict[str, Any]:
    """Params that differ from params.yaml for this data set.

    Leaves that are left and right by their names change places in a flip.
    """
    sides = [pair for pair in unlisted_sides(tree) if len({*map(tree.parent, pair)}) == 1]
    return {
        "tree": tree.to_dict(),
        "swap": [list(pair) for pair in sides],
        "data": data_section(out),
        "experts": {name: {} for name in tree.experts},
    }


def summary(out: Path, splits: Mapping[str, list[str]], profile: Path) -> str:
    """Of a new data set folder: how large its splits are, and what trains on it."""
    sizes = ", ".join(f"{len(ids)} {split}" for split, ids in splits.items())
    command = shlex.join(["./pipeline.sh", "--profile", str(profile), "--data", str(out)])
    return f"{out}: {sizes}\ntrain on it: {command}"


def data_section(folder: Path) -> dict[str, str]:
    """Section `data` for a folder of which no more is known."""
    return {
        "folder": str(folder.absolute()),
        "description": f"the data set {folder.absolute().name}",
        "licence": "see where the data come from",
    }


def _split_problems(source: Source, splits: Mapping[str, list[str]]) -> list[str]:
    have = Counter(sample.id for sample in source.samples)
    problems = [f"{i!r} is in the source {n} times; keep one" for i, n in have.items() if n > 1]
    for split, wanted in splits.items():
        if not wanted:
            problems.append(f"{split}: has no sample")
        problems += [
            f"{split}: the source has no sample {i!r}; add its mask or take it out of the list"
            for i in wanted
            if i not in have
        ]
        problems += [f"{split}: lists {i!r} {n} times" for i, n in Counter(wanted).items() if n > 1]
    both = set(splits.get("train", [])) & set(splits.get("val", []))
    return problems + [f"{i!r} is in train and in val; keep one" for i in sorted(both)]


def _write_samples(
    samples: list[SourceSample], mapping: ClassMapping, out: Path, masks_are_stored: bool
) -> list[str]:
    """Write images and label maps; returns the problems, one line each."""
    (out / "JPEGImages").mkdir(parents=True)
    (out / "gt_masks").mkdir()
    colours = palette(mapping.tree)

    def write(sample: SourceSample) -> list[str]:
        try:
            labels = mapping.apply(sample.read_labels())
            labels = upright(labels, sample.image, masks_are_stored)
        except Exception as error:  # damaged files raise anything
            return [f"{sample.id}: {error}"]
        write_labels(out / "gt_masks" / f"{sample.id}.png", labels, colours)
        name = f"{sample.id}{photograph_suffix(sample.image)}"
        shutil.copyfile(sample.image, out / "JPEGImages" / name)
        return []

    def found() -> Iterator[list[str]]:
        with ThreadPoolExecutor() as pool:
            yield from prefetch(pool, write, samples, 16)

    progress = tqdm(found(), "importing", len(samples), unit="sample")
    return [problem for some in progress for problem in some]


def photograph_suffix(image: Path) -> str:
    """Its ending in small letters; of another one, such as .jfif, that of its format."""
    if (suffix := image.suffix.lower()) in IMAGE_SUFFIXES:
        return suffix
    with Image.open(image, formats=("JPEG", "PNG")) as picture:
        return ".png" if picture.format == "PNG" else ".jpg"


def upright(labels: np.ndarray, image: Path, masks_are_stored: bool) -> np.ndarray:
    """Label map (H, W) uint8 as it fits the photograph once its EXIF orientation has turned it.

    Raises ValueError if the sizes do not fit.
    """
    with Image.open(image, formats=("JPEG", "PNG")) as picture:
        width, height = picture.size
    orientation = exif_orientation(image)
    stored = height, width
    shown = (width, height) if orientation >= 5 else stored
    size = f"{labels.shape[1]} x {labels.shape[0]}"
    if masks_are_stored and labels.shape == stored:
        mask = Image.fromarray(labels)
        mask.getexif()[ExifTags.Base.Orientation] = orientation
        return np.asarray(ImageOps.exif_transpose(mask))
    if not masks_are_stored and labels.shape == shown:
        return labels
    if not masks_are_stored and labels.shape == stored:
        raise ValueError(
            f"the label map has {size} pixels, as {image.name} is stored, but EXIF orientation "
            f"{orientation} turns the photograph; give --exif stored"
        )
    if masks_are_stored and labels.shape == shown:
        raise ValueError(
            f"the label map has {size} pixels, as {image.name} is shown, once EXIF orientation "
            f"{orientation} has turned it; give --exif shown"
        )
    rows, columns = stored if masks_are_stored else shown
    raise ValueError(
        f"the label map has {size} pixels, {image.name} {columns} x {rows}; make them equal"
    )
