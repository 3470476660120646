"""Turn the people of the original Pascal-Part release into a data set folder.

    python -m preprocessing_stage.converters.pascal_part Annotations_Part JPEGImages data/people

Reads Annotations_Part/<id>.mat and JPEGImages/<id>.jpg of VOC2010. Masks of parts are drawn
person by person in the order of the annotation, later ones over earlier ones. Other objects are
left out, as are images in which no part of a person is labelled, listed ones too. The profile that
is written has all parts below one root; profiles/pascal_part_*.yaml have them in a tree.

A person without any labelled part is 255 (ignore): all of it would else be taught, and scored,
as background. In a person with labelled parts, pixels that no part covers are background (0), as
in the usual Pascal-Person-Part labels, so that scores stay comparable to published ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from preprocessing_stage.converters.class_mapping import flat_mapping
from preprocessing_stage.converters.import_dataset import (
    import_dataset,
    split_randomly,
    summary,
)
from preprocessing_stage.converters.source import (
    IGNORED,
    Source,
    SourceSample,
    files,
    photographs,
)
from preprocessing_stage.dataset.user_error import exits_on_user_error

PROFILE = Path("profiles/pascal_part.yaml")
"""What to begin with."""

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
    """Ids of leaves (H, W) int32, IGNORED where a person has no labelled part. Raises ValueError
    for unknown parts and for masks of several sizes."""
    parts = [part for person in persons for part in person.parts]
    unknown = sorted({name for name, _ in parts} - _ID_OF_PART.keys())
    problems = [f"part {name!r} is unknown; add it to PARTS_OF_LEAF" for name in unknown]
    sizes = {mask.shape for _, mask in parts} | {person.mask.shape for person in persons}
    if len(sizes) > 1:
        problems.append(f"masks have (height, width) {sorted(sizes)}; make them equal")
    if problems:
        raise ValueError("; ".join(problems))
    labels = np.zeros(persons[0].mask.shape, np.int32)
    for person in persons:
        if not person.is_labelled:
            labels[person.mask > 0] = IGNORED
    for name, mask in parts:
        labels[mask > 0] = _ID_OF_PART[name]
    return labels


def pascal_part_source(annotations: Path, images: Path, ids: Collection[str]) -> Source:
    """Those of `ids` whose annotation has a labelled part of a person; each annotation is read for
    that. Raises OSError without one of the folders, ImportError without scipy."""
    there = photographs(images)
    path_of = {path.stem: path for path in files(annotations, (".mat",)) if path.stem in ids}
    with ThreadPoolExecutor() as pool:
        found = pool.map(_is_labelled, path_of.values())
        labelled = list(tqdm(found, "reading", len(path_of), unit="image"))
    samples = [
        SourceSample(i, there.get(i, [images / f"{i}.jpg"])[0], partial(_read_labels, path_of[i]))
        for i, wanted in sorted(zip(path_of, labelled, strict=True))
        if wanted
    ]
    return Source(dict(enumerate(LEAVES)), samples)


def _is_labelled(path: Path) -> bool:
    try:
        return any(person.is_labelled for person in read_persons(path))
    except ValueError:  # the import names it with all others
        return True


def _read_labels(path: Path) -> np.ndarray:
    return label_map(read_persons(path))


@exits_on_user_error(ValueError, ImportError)
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
    parser.add_argument(
        "--exif",
        choices=("shown", "stored"),
        default="shown",
        help="masks fit photographs as shown, or as stored before EXIF turns them",
    )
    args = parser.parse_args(arguments)
    if (args.train_ids is None) != (args.val_ids is None):
        parser.error("--train-ids and --val-ids need each other")
    lists = {"train": args.train_ids, "val": args.val_ids} if args.train_ids else {}
    listed = {split: path.read_text("utf-8-sig").split() for split, path in lists.items()}
    ids = {i for some in listed.values() for i in some}
    if not listed:
        ids = {path.stem for path in files(args.annotations, (".mat",))}
    source = pascal_part_source(args.annotations, args.jpeg_images, ids)
    have = {sample.id for sample in source.samples}
    splits = {split: [i for i in some if i in have] for split, some in listed.items()}
    if not listed:
        splits = split_randomly(sorted(have), args.val_share, args.seed)
    mapping = flat_mapping(source.classes, "person")
    stored = args.exif == "stored"
    import_dataset(source, mapping, args.out, splits, masks_are_stored=stored)
    left_out = len(ids) - len(have)
    print(f"{left_out} of {len(ids)} left out: no annotation of theirs labels a part of a person")
    print(summary(args.out, splits, PROFILE))


if __name__ == "__main__":
    main()
