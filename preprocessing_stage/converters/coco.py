"""COCO instances: polygons and run-length encodings, read by pycocotools."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from preprocessing_stage.converters.source import (
    IGNORED,
    Source,
    SourceSample,
    read_json,
    sample_id,
)
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.dataset.user_error import UserError


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Image(_Strict):
    id: int
    file_name: str
    height: int
    width: int


class _Annotation(_Strict):
    id: int | str
    image_id: int
    category_id: int
    segmentation: list[list[Any]] | dict[str, Any] | None = None


class _Category(_Strict):
    id: int
    name: str


class _Instances(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def coco_source(annotations: dict[str, Path], images: Path) -> Source:
    """A source of one file or of one for each split. Raises ValueError, DatasetError with all that
    is wrong with a file, or UserError without pycocotools. Says how many annotations have no area,
    and how many are crowds.

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
    content, problems = read_json(path, _Instances, path.parent)
    if problems:
        raise DatasetError(DatasetFolder(path.parent), problems)
    count = len(content["annotations"])
    content["annotations"] = [one for one in content["annotations"] if _has_area(one)]
    if empty := count - len(content["annotations"]):
        print(f"{path}: {empty} of {count} annotations, without area, left out", file=sys.stderr)
    if crowds := sum(bool(one.get("iscrowd")) for one in content["annotations"]):
        # Of CVAT (datumaro), whatever was painted with its brush.
        print(
            f"{path}: {crowds} of {count} annotations are crowds (iscrowd), which become 255; "
            "where the program that wrote them means masks, set iscrowd to 0",
            file=sys.stderr,
        )
    found = COCO()
    found.dataset = content
    with redirect_stdout(StringIO()):  # it reports each step
        found.createIndex()
    for key, kept in (("annotations", found.anns), ("images", found.imgs)):
        if len(kept) < len(content[key]):
            raise ValueError(f"{path}: some {key} have the same id; number them anew")
    return found


def _has_area(annotation: dict[str, Any]) -> bool:
    """Whether it is more than a box; polygons of fewer than three points are taken out of it."""
    outline = annotation.get("segmentation")
    if isinstance(outline, list):
        annotation["segmentation"] = [polygon for polygon in outline if len(polygon) >= 6]
    return bool(annotation.get("segmentation"))
