"""labelme: a JSON file of shapes beside each photograph."""

from __future__ import annotations

import base64
import json
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from preprocessing_stage.converters.source import Source, SourceSample

_SHAPES = ("polygon", "rectangle", "circle", "mask")


def labelme_source(folder: Path) -> Source:
    """All JSON files of a folder. Raises ValueError that names each file that does not fit."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ValueError(f"{folder}: has no .json of labelme")
    files = {path: _read(path) for path in paths}
    labels = sorted({shape["label"] for file in files.values() for shape in file["shapes"]})
    names = ["background", *(label for label in labels if label.casefold() != "background")]
    classes = dict(enumerate(names))
    id_of = {name.casefold(): i for i, name in classes.items()}
    samples, problems = [], []
    for path, file in files.items():
        image = path.parent / file["imagePath"].replace("\\", "/")
        if not image.is_file():
            problems.append(f"{path.name}: there is no {image}")
        if odd := sorted({s["shape_type"] for s in file["shapes"]} - {*_SHAPES}):
            problems.append(f"{path.name}: shapes {odd} cover no area; take {', '.join(_SHAPES)}")
        samples.append(SourceSample(path.stem, image, partial(draw_shapes, file, id_of)))
    if problems:
        raise ValueError("\n  ".join([f"{folder}:", *problems]))
    return Source(classes, samples)


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
            (x0, y0), (x1, y1) = points
            pen.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=value)
        elif shape["shape_type"] == "circle":
            (x, y), (edge_x, edge_y) = points
            radius = float(np.hypot(edge_x - x, edge_y - y))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)
        else:
            with Image.open(BytesIO(base64.b64decode(shape["mask"]))) as mask:
                corner = round(points[0][0]), round(points[0][1])
                canvas.paste(value, corner, Image.fromarray(np.asarray(mask) > 0))
    return np.asarray(canvas).astype(np.int32)


def _read(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8-sig"))
        missing = {"imagePath", "imageWidth", "imageHeight", "shapes"} - file.keys()
        if missing:
            raise ValueError(f"has no {', '.join(sorted(missing))}")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: no file of labelme: {error}") from error
    for shape in file["shapes"]:
        shape.setdefault("shape_type", "polygon")
    result: dict[str, Any] = file
    return result
