"""Turn the people of the original Pascal-Part release into a data set folder.

    python -m preprocessing_stage.converters.pascal_part Annotations_Part JPEGImages data/people

Reads Annotations_Part/<id>.mat and JPEGImages/<id>.jpg of VOC2010. Masks of parts are drawn
person by person in the order of the annotation, later ones over earlier ones. Other objects are
left out, as are images in which no part of a person is labelled.

A person without any labelled part is 255 (ignore): all of it would else be taught, and scored,
as background. In a person with labelled parts, pixels that no part covers are background (0), as
in the usual Pascal-Person-Part labels, so that scores stay comparable to published ones.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from preprocessing_stage.converters.import_dataset import split_randomly
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    DatasetFolder,
    read_image,
    write_labels,
    write_listing,
)
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.drawing.palette import palette

LEAVES = ("background", "low_hand", "torso", "low_leg", "head", "up_leg", "up_hand")
"""Names of the leaves; the position is the id."""

PARTS_OF_LEAF = {
    "head": "head leye reye lear rear lebrow rebrow nose mouth hair",
    "torso": "torso neck",
    "up_hand": "luarm ruarm",
    "low_hand": "llarm rlarm lhand rhand",
    "up_leg": "luleg ruleg",
    "low_leg": "llleg rlleg lfoot rfoot",
}
"""The six parts of Pascal-Person-Part, in which the neck belongs to the torso."""

_ID_OF_PART = {p: LEAVES.index(leaf) for leaf, ps in PARTS_OF_LEAF.items() for p in ps.split()}


class Person(NamedTuple):
    """A person of an image."""

    mask: np.ndarray
    """(H, W) uint8, not 0 where the person is."""
    parts: list[tuple[str, np.ndarray]]
    """Pascal-Part's name of each part and its mask, (H, W) uint8."""

    @property
    def is_labelled(self) -> bool:
        return any(mask.any() for _, mask in self.parts)


def read_persons(path: Path) -> list[Person]:
    """The persons of a `.mat` file. Raises ValueError if it is no annotation of Pascal-Part,
    ImportError without scipy."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("needs scipy: pip install '.[convert]'") from error
    try:
        anno = loadmat(path, squeeze_me=True, struct_as_record=False)["anno"]
        # An array of one struct comes squeezed to the struct itself.
        return [
            Person(
                np.asarray(thing.mask),
                [(str(p.part_name), np.asarray(p.mask)) for p in np.atleast_1d(thing.parts).flat],
            )
            for thing in np.atleast_1d(anno.objects).flat
            if getattr(thing, "class") == "person"
        ]
    except Exception as error:  # damaged files raise anything from zlib.error to TypeError
        raise ValueError(f"no annotation of Pascal-Part ({error!r}); replace the file") from error


def label_map(persons: list[Person]) -> np.ndarray:
    """Label map (H, W) uint8 of persons whose masks have one size and whose parts are known."""
    labels = np.zeros(persons[0].mask.shape, np.uint8)
    for person in persons:
        if not person.is_labelled:
            labels[person.mask > 0] = IGNORE
    for person in persons:
        for name, mask in person.parts:
            labels[mask > 0] = _ID_OF_PART[name]
    return labels


def sample_problems(persons: list[Person], photograph: Path) -> list[str]:
    """What keeps `persons` from being drawn and paired with their photograph."""
    parts = [part for person in persons for part in person.parts]
    unknown = sorted({name for name, _ in parts} - _ID_OF_PART.keys())
    problems = [f"part {name!r} is unknown; add it to PARTS_OF_LEAF" for name in unknown]
    try:
        size = read_image(photograph).shape[:2]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return [*problems, f"photograph: {error}; add or replace it"]
    sizes = {mask.shape for _, mask in parts} | {person.mask.shape for person in persons}
    return problems + [
        f"a mask has (height, width) {other}, the photograph {size}; make them equal"
        for other in sorted(sizes - {size})
    ]


def convert(
    annotations: Path,
    images: Path,
    out: Path,
    *,
    val_share: float = 0.2,
    seed: int = 0,
    listed: Mapping[str, list[str]] | None = None,
) -> dict[str, int]:
    """Write the data set folder `out`; `listed` (split -> ids) replaces the random split.

    Returns the number of samples of each split, of images "skipped" because no part of a person
    is labelled, and of `listed` ids "left out" because there is no sample of theirs.
    Raises DatasetError with all problems, and leaves `out` as it was.
    """
    times = Counter(sample for some in (listed or {}).values() for sample in some)
    problems = [f"{i!r} is listed {n} times; keep one" for i, n in times.items() if n > 1]
    problems += [f"{path}: no such folder" for path in (annotations, images) if not path.is_dir()]
    if out.exists():
        problems.append(f"{out}: exists; remove it or choose another folder")
    if not 0 < val_share < 1:
        problems.append(f"val share: is {val_share}, needs to be between 0 and 1")
    if problems:
        raise DatasetError(DatasetFolder(annotations), problems)
    ids = sorted(path.stem for path in annotations.glob("*.mat"))
    if listed:
        ids = [sample for sample in ids if sample in times]
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        samples = _write_samples(annotations, images, ids, part)
        splits = split_randomly(samples, val_share, seed)
        if listed:
            done = set(samples)
            splits = {split: [i for i in some if i in done] for split, some in listed.items()}
        if empty := [f"{split}: no sample is left for it" for split in splits if not splits[split]]:
            raise DatasetError(DatasetFolder(annotations), empty)
        write_listing(part, splits, dict(enumerate(LEAVES)))
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    left_out = len(times) - len(samples) if listed else 0
    counts = {split: len(some) for split, some in splits.items()}
    return counts | {"skipped": len(ids) - len(samples), "left out": left_out}


def _write_samples(annotations: Path, images: Path, ids: list[str], out: Path) -> list[str]:
    """Ids of the samples. Stops writing, but not looking, at the first problem."""
    colours = palette(ClassTree({"person": {name: i for i, name in enumerate(LEAVES)}}))
    (out / "JPEGImages").mkdir(parents=True)
    (out / "gt_masks").mkdir()
    samples: list[str] = []
    problems: list[str] = []
    for sample in tqdm(ids, "converting", unit="image"):
        photograph = images / f"{sample}.jpg"
        try:
            persons = read_persons(annotations / f"{sample}.mat")
        except ValueError as error:
            problems.append(f"{sample}.mat: {error}")
            continue
        if not any(person.is_labelled for person in persons):
            continue
        problems += [f"{sample}: {what}" for what in sample_problems(persons, photograph)]
        if not problems:
            write_labels(out / "gt_masks" / f"{sample}.png", label_map(persons), colours)
            shutil.copyfile(photograph, out / "JPEGImages" / photograph.name)
            samples.append(sample)
    if problems:
        raise DatasetError(DatasetFolder(annotations), problems)
    return samples


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path, help="Annotations_Part of Pascal-Part")
    parser.add_argument("jpeg_images", type=Path, help="JPEGImages of VOC2010")
    parser.add_argument("out", type=Path, help="new data set folder")
    split = parser.add_mutually_exclusive_group()
    split.add_argument("--val-share", type=float, default=0.2, help="default: 0.2")
    split.add_argument("--train-ids", type=Path, metavar="FILE", help="needs --val-ids")
    parser.add_argument("--val-ids", type=Path, metavar="FILE", help="needs --train-ids")
    parser.add_argument("--seed", type=int, default=0, help="of the random split, default: 0")
    args = parser.parse_args(arguments)
    if (args.train_ids is None) != (args.val_ids is None):
        parser.error("--train-ids and --val-ids need each other")
    files = {"train": args.train_ids, "val": args.val_ids} if args.train_ids else {}
    try:
        counts = convert(
            args.annotations,
            args.jpeg_images,
            args.out,
            val_share=args.val_share,
            seed=args.seed,
            listed={split: path.read_text("utf-8-sig").split() for split, path in files.items()},
        )
    except (UserError, OSError, UnicodeDecodeError, ImportError) as error:
        raise SystemExit(str(error)) from error
    print(", ".join(f"{count} {what}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
