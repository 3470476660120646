"""COCO instances: polygons and run-length encodings, read by pycocotools."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing_stage.converters.source import IGNORED, Source, SourceSample, sample_id
from preprocessing_stage.dataset.user_error import UserError


def coco_source(annotations: dict[str, Path], images: Path) -> Source:
    """A source of one file or of one for each split. Raises ValueError, or UserError without
    pycocotools.

    annotations: split -> file of instances; one file under "" has no split. images: folder of the
    photographs, whose `file_name` may hold folders.
    """
    files = {split: (path, _read(path)) for split, path in annotations.items()}
    numbers = {number for _, data in files.values() for number in data.cats}
    # COCO's own categories begin at 1, those of other programs at 0.
    background = max(numbers) + 1 if 0 in numbers else 0
    classes = {background: "background"}
    samples: list[SourceSample] = []
    splits: dict[str, list[str]] = {}
    for split, (path, data) in files.items():
        for category in data.cats.values():
            known = classes.setdefault(category["id"], category["name"])
            if known != category["name"]:
                raise ValueError(
                    f"{path}: category {category['id']} is {category['name']}, elsewhere {known}"
                )
        for image in data.imgs.values():
            sample = sample_id(Path(image["file_name"]))
            photograph = images / image["file_name"]
            if not photograph.is_file():
                raise ValueError(f"{photograph}: no such file, {path} names it")
            read = partial(draw_instances, data, image, background)
            samples.append(SourceSample(sample, photograph, read))
            splits.setdefault(split, []).append(sample)
    return Source(classes, samples, splits if "" not in splits else {})


def draw_instances(data: Any, image: dict[str, Any], background: int = 0) -> np.ndarray:
    """Source ids (H, W) int32 of an image: large instances first, small ones over them; crowds are
    IGNORED where nothing else is, and what no annotation covers is `background`."""
    labels = np.full((image["height"], image["width"]), background, np.int32)
    own = data.loadAnns(data.getAnnIds(imgIds=image["id"]))
    masks = [(one, data.annToMask(one).astype(bool)) for one in own]
    for one, mask in masks:
        if one.get("iscrowd"):
            labels[mask] = IGNORED
    for one, mask in sorted(masks, key=lambda pair: -int(pair[1].sum())):
        if not one.get("iscrowd"):
            labels[mask] = one["category_id"]
    return labels


def _read(path: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise UserError("COCO needs pycocotools: pip install '.[convert]'") from error
    from contextlib import redirect_stdout
    from io import StringIO

    try:
        with redirect_stdout(StringIO()):  # it reports each step
            found = COCO(str(path))
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise ValueError(f"{path}: no file of COCO instances: {error}") from error
    for key, kept in (("annotations", found.anns), ("images", found.imgs)):
        if len(kept) < len(found.dataset.get(key, [])):
            raise ValueError(f"{path}: some {key} have the same id; number them anew")
    return found
