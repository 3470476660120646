"""Import a data set of another form into the project's own folder layout.

    python -m preprocessing_stage.converters KIND ... --out FOLDER [--tree TREE.yaml]

For example an export of CVAT ("Segmentation mask 1.1"), first to see its classes, then with a tree
that says which of them become which leaf:

    python -m preprocessing_stage.converters voc export/ --show
    python -m preprocessing_stage.converters voc export/ --out data/mine --tree mine.yaml

FOLDER gets photographs, label maps, lists, classes.txt, and a profile to train on it with
./pipeline.sh --profile data/mine/mine.yaml --data data/mine. See docs/own_data.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocessing_stage.converters.class_mapping import flat_mapping, read_mapping
from preprocessing_stage.converters.coco import coco_source
from preprocessing_stage.converters.import_dataset import (
    import_dataset,
    profile_path,
    split_randomly,
    summary,
)
from preprocessing_stage.converters.labelme import labelme_source
from preprocessing_stage.converters.masks import (
    mask_source,
    read_class_names,
    read_label_colours,
)
from preprocessing_stage.converters.source import Source
from preprocessing_stage.converters.voc import read_voc_list, voc_source
from preprocessing_stage.dataset.user_error import exits_on_user_error


@exits_on_user_error(ValueError)
def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    source: Source = arguments.read(arguments)
    if arguments.show or not arguments.out:
        print("\n".join(f"{i}: {name}" for i, name in source.classes.items()))
        return
    mapping = (
        read_mapping(arguments.tree, source.classes)
        if arguments.tree
        else flat_mapping(source.classes)
    )
    splits = _splits(arguments, source)
    import_dataset(
        source, mapping, arguments.out, splits, masks_are_stored=arguments.exif == "stored"
    )
    print(summary(arguments.out, splits, profile_path(arguments.out)))


def _splits(arguments: argparse.Namespace, source: Source) -> dict[str, list[str]]:
    if arguments.train_ids or arguments.val_ids:
        if not (arguments.train_ids and arguments.val_ids):
            raise ValueError("--train-ids and --val-ids need each other")
        known = {sample.id for sample in source.samples}
        return {
            "train": read_voc_list(arguments.train_ids, known),
            "val": read_voc_list(arguments.val_ids, known),
        }
    if len(source.splits) == 1:
        raise ValueError(
            f"the source lists samples for {', '.join(source.splits)} alone; give --train-ids and "
            "--val-ids"
        )
    if source.splits:
        return dict(source.splits)
    ids = [sample.id for sample in source.samples]
    return split_randomly(ids, arguments.val_share, arguments.seed)


def _read_masks(arguments: argparse.Namespace) -> Source:
    colours = read_label_colours(arguments.labelmap) if arguments.labelmap else None
    classes = read_class_names(arguments.classes) if arguments.classes else None
    if colours and classes:
        raise ValueError("--classes is for masks of ids, --labelmap for masks in colour; give one")
    folders = {"": (arguments.images, arguments.masks)}
    if arguments.val_images or arguments.val_masks:
        if not (arguments.val_images and arguments.val_masks):
            raise ValueError("--val-images and --val-masks need each other")
        folders = {"train": folders[""], "val": (arguments.val_images, arguments.val_masks)}
    return mask_source(folders, classes, colours)


def _read_coco(arguments: argparse.Namespace) -> Source:
    files = {"": arguments.instances}
    if arguments.val_instances:
        files = {"train": arguments.instances, "val": arguments.val_instances}
    return coco_source(files, arguments.images)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    masks = _add_kind(
        kinds,
        "masks photos ids --classes names.txt --out data/mine --tree mine.yaml",
        "photographs and masks in two folders",
    )
    masks.add_argument("images", type=Path)
    masks.add_argument(
        "masks", type=Path, help="PNG, TIFF, .npy of ids (8, 16, 32 bits), or of colours"
    )
    masks.add_argument(
        "--val-images", type=Path, metavar="FOLDER", help="those before are then to train on"
    )
    masks.add_argument("--val-masks", type=Path, metavar="FOLDER")
    masks.add_argument(
        "--classes", metavar="NAME", help="lip, cihp, atr, pascal-person-part, or a file of names"
    )
    masks.add_argument("--labelmap", type=Path, help="labelmap.txt: name:r,g,b a line")
    masks.set_defaults(read=_read_masks)
    voc = _add_kind(
        kinds,
        "voc export --out data/mine --tree mine.yaml",
        "a tree of Pascal VOC, as CVAT and others export it",
    )
    voc.add_argument("folder", type=Path)
    voc.add_argument("--images", type=Path, help="default: JPEGImages of the folder")
    voc.add_argument("--classes", metavar="NAME", help="default: labelmap.txt of the folder")
    voc.set_defaults(read=lambda a: voc_source(a.folder, a.images, a.classes))
    coco = _add_kind(
        kinds,
        "coco train.json --val-instances val.json --images photos --out data/mine --tree mine.yaml",
        "COCO instances, polygons or run-length encodings",
    )
    coco.add_argument("instances", type=Path, help="JSON; of the training split with the next")
    coco.add_argument("--val-instances", type=Path, help="JSON of the validation split")
    coco.add_argument("--images", type=Path, required=True)
    coco.set_defaults(read=_read_coco)
    labelme = _add_kind(
        kinds,
        "labelme annotated --out data/mine --tree mine.yaml",
        "a folder of labelme's JSON files",
    )
    labelme.add_argument("folder", type=Path)
    labelme.set_defaults(read=lambda a: labelme_source(a.folder))
    return parser


def _add_kind(kinds: Any, example: str, what: str) -> argparse.ArgumentParser:
    """A parser with the options that all kinds have. kinds: what `add_subparsers` gave."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        example.split()[0],
        help=what,
        description=f"Import {what}.\n\n    python -m preprocessing_stage.converters {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="FOLDER", help="new data set folder")
    add("--tree", type=Path, metavar="FILE", help="which class becomes which leaf; else all alike")
    add("--show", action="store_true", help="print the classes of the source and stop")
    add("--train-ids", type=Path, metavar="FILE", help="with --val-ids: instead of other splits")
    add("--val-ids", type=Path, metavar="FILE")
    add("--val-share", type=float, default=0.2, help="of a random split, default %(default)s")
    add("--seed", type=int, default=0, help="of the random split, default %(default)s")
    add(
        "--exif",
        choices=("shown", "stored"),
        default="shown",
        help="masks fit photographs as shown, or as stored before EXIF turns them",
    )
    return parser


if __name__ == "__main__":
    main()
