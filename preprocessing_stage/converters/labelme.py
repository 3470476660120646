"""labelme: a JSON file of shapes beside each photograph."""

from __future__ import annotations

import base64
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field

from preprocessing_stage.converters.source import (
    Source,
    SourceSample,
    files,
    read_json,
    sample_id,
)
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.dataset_folder import DatasetFolder

_SHAPES = ("polygon", "rectangle", "circle", "mask")


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)

    label: str
    points: list[list[float]]
    shape_type: str = "polygon"


class _File(BaseModel):
    model_config = ConfigDict(strict=True)

    image_path: str = Field(alias="imagePath")
    image_width: int = Field(alias="imageWidth")
    image_height: int = Field(alias="imageHeight")
    shapes: list[_Shape]


def labelme_source(folder: Path) -> Source:
    """All JSON files of a folder and below it. Raises OSError, ValueError, DatasetError with all
    that does not fit."""
    paths = files(folder, (".json",))
    if not paths:
        raise ValueError(f"{folder}: has no .json of labelme")
    read = {path.relative_to(folder): _read(path, folder) for path in paths}
    if problems := [problem for _, some in read.values() for problem in some]:
        raise DatasetError(DatasetFolder(folder), problems)
    content = {path: file for path, (file, _) in read.items()}
    for file in content.values():
        for shape in file["shapes"]:
            shape.setdefault("shape_type", "polygon")
    names = {"background": "background"}  # labels that differ in case alone are one class
    for label in sorted({shape["label"] for file in content.values() for shape in file["shapes"]}):
        names.setdefault(label.casefold(), label)
    id_of = {key: i for i, key in enumerate(names)}
    samples = []
    for path, file in content.items():
        image = folder / path.parent / file["imagePath"].replace("\\", "/")
        if not image.is_file():
            problems.append(f"{path}: there is no {image}")
        if odd := sorted({s["shape_type"] for s in file["shapes"]} - {*_SHAPES}):
            problems.append(f"{path}: shapes {odd} cover no area; take {', '.join(_SHAPES)}")
        problems += [
            f"{path}: shapes.{number} ({shape['label']}) is a {shape['shape_type']}, needs 2 "
            f"points, has {len(shape['points'])}; draw it again"
            for number, shape in enumerate(file["shapes"])
            if not _has_enough_points(shape)
        ]
        samples.append(SourceSample(sample_id(path), image, partial(draw_shapes, file, id_of)))
    if problems:
        raise DatasetError(DatasetFolder(folder), problems)
    return Source(dict(enumerate(names.values())), samples)


def _read(path: Path, folder: Path) -> tuple[Any, list[str]]:
    """Without the photograph that labelme puts into its files."""
    content, problems = read_json(path, _File, folder)
    if isinstance(content, dict):
        content.pop("imageData", None)
    return content, problems


def _has_enough_points(shape: dict[str, Any]) -> bool:
    count = len(shape["points"])
    return {"circle": count == 2, "rectangle": count >= 2}.get(shape["shape_type"], True)


def draw_shapes(file: dict[str, Any], id_of: dict[str, int]) -> np.ndarray:
    """Source ids (H, W) int32; later shapes lie over earlier ones."""
    canvas = Image.new("I", (file["imageWidth"], file["imageHeight"]))
    pen = ImageDraw.Draw(canvas)
    for shape in file["shapes"]:
        value = id_of[shape["label"].casefold()]
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if shape["shape_type"] == "polygon":
            pen.polygon(points, fill=value)
        elif shape["shape_type"] == "rectangle":
            corners = np.array(points)  # two or, of some programs, four
            pen.rectangle((*corners.min(axis=0), *corners.max(axis=0)), fill=value)
        elif shape["shape_type"] == "circle":
            (x, y), (edge_x, edge_y) = points
            radius = float(np.hypot(edge_x - x, edge_y - y))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
        else:
            with Image.open(BytesIO(base64.b64decode(shape["mask"]))) as mask:
                corner = round(points[0][0]), round(points[0][1])
                canvas.paste(value, corner, Image.fromarray(np.asarray(mask) > 0))
    return np.asarray(canvas).astype(np.int32)
