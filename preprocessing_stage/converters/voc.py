"""Trees in the form of Pascal VOC, which CVAT's export "Segmentation mask" has too: `JPEGImages`,
`SegmentationClass`, `ImageSets/Segmentation`."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from preprocessing_stage.converters.masks import (
    mask_source,
    read_class_names,
    read_label_colours,
)
from preprocessing_stage.converters.source import Source

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "val"}
"""Name of a list -> split."""


def voc_source(folder: Path, images: Path | None, classes: str | None) -> Source:
    """A tree in the form of Pascal VOC. Raises ValueError.

    images: of photographs that lie elsewhere. classes: as for `read_class_names`; None takes
    labelmap.txt.
    """
    labelmap = folder / "labelmap.txt"
    names = read_class_names(classes) if classes else None
    colours = read_label_colours(labelmap) if names is None and labelmap.is_file() else None
    lists = folder / "ImageSets" / "Segmentation"
    pair = (images or folder / "JPEGImages", folder / "SegmentationClass")
    source = mask_source({"": pair}, names, colours)
    have = {sample.id for sample in source.samples}
    splits: dict[str, list[str]] = {}
    for path in sorted(lists.glob("*.txt")) if lists.is_dir() else []:
        if split := SPLITS.get(path.stem.lower()):
            ids = [i for i in read_voc_list(path, have) if i in have]
            splits[split] = [*splits.get(split, []), *ids]
    return Source(source.classes, source.samples, splits if len(splits) == 2 else {})


def read_voc_list(path: Path, known: Collection[str]) -> list[str]:
    """Ids of a list; those with a second column of -1 are left out, file endings dropped.

    known: ids. Of a name with folders the last part counts, unless all of it is a known id.
    """
    ids = []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        has_flag = line.strip() not in known and re.search(r"\s-?1$", line)
        name, *flag = line.rsplit(maxsplit=1) if has_flag else [line.strip()]
        if name and flag != ["-1"]:
            name = re.sub(r"\.(jpe?g|png)$", "", name, flags=re.IGNORECASE)
            whole = name.replace("/", "_")
            ids.append(whole if whole in known else Path(name).name)
    return ids
