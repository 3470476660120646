"""Trees in the form of Pascal VOC, which CVAT's export "Segmentation mask" has too: `JPEGImages`,
`SegmentationClass`, `ImageSets/Segmentation`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from preprocessing_stage.converters.masks import (
    mask_source,
    read_class_names,
    read_label_colours,
)
from preprocessing_stage.converters.source import Source, plain_id

LISTS = {"train": ("train",), "val": ("val", "validation", "test")}
"""Split -> names of its list, of which the first one that is there counts."""


def voc_source(folder: Path, images: Path | None, classes: str | None) -> Source:
    """A tree in the form of Pascal VOC. Raises ValueError.

    images: of photographs that lie elsewhere. classes: as for `read_class_names`; None takes
    labelmap.txt.
    """
    labelmap = folder / "labelmap.txt"
    names = read_class_names(classes) if classes else None
    colours = read_label_colours(labelmap) if names is None and labelmap.is_file() else None
    pair = (images or folder / "JPEGImages", folder / "SegmentationClass")
    source = mask_source({"": pair}, names, colours)
    have = {sample.id for sample in source.samples}
    lists = (folder / "ImageSets" / "Segmentation").glob("*.txt")
    path_of = {path.stem.lower(): path for path in lists}
    splits = {
        split: read_voc_list(path_of[there[0]], have)
        for split, those in LISTS.items()
        if (there := [name for name in those if name in path_of])
    }
    return replace(source, splits=splits)


def read_voc_list(path: Path, known: Collection[str]) -> list[str]:
    """Ids of a list; those with a second column of -1 are left out, file endings dropped.

    known: ids. Of a name with folders the last part counts, unless all of it is a known id.
    """
    ids = []
    for line in map(plain_id, path.read_text(encoding="utf-8-sig").splitlines()):
        has_flag = line not in known and re.search(r"\s-?1$", line)
        name, *flag = line.rsplit(maxsplit=1) if has_flag else [line]
        if name and flag != ["-1"]:
            name = plain_id(re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE))
            whole = name.replace("/", "_")
            ids.append(whole if whole in known else Path(name).name)
    return ids
