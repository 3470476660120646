"""Predictions as COCO annotations, for annotation tools.

    python -m deploy.predict photos/ --out predictions
    python -m deploy.coco predictions --out people.json --polygons

Reads the label maps of a folder of `deploy.predict`. Each connected piece of the foreground is one
instance with an annotation for each class that it has; the field `instance` numbers them from 1.
People who touch are one instance. Needs `pip install ".[convert]"`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deploy.people import MIN_AREA, number_people
from deploy.predict.index import INDEX, PredictionIndex
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import BACKGROUND


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.coco",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", type=Path, help="folder that deploy.predict wrote")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .json")
    parser.add_argument("--polygons", action="store_true", help="instead of RLE; holes are filled")
    parser.add_argument(
        "--min-area", type=int, default=MIN_AREA, help="pixels, default %(default)s"
    )
    arguments = parser.parse_args()
    try:
        if arguments.out.exists():
            raise ValueError(f"{arguments.out}: exists; give another name, or move it")
        result = coco_file(arguments.predictions, arguments.polygons, arguments.min_area)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(arguments.out, encoding="utf-8") as file:
            json.dump(result, file)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    images, found = len(result["images"]), len(result["annotations"])
    print(f"{arguments.out}: {images} images, {found} annotations")


def coco_file(folder: Path, polygons: bool, min_area: int) -> dict[str, Any]:
    """The content of a COCO file of instances. Raises OSError, ValueError, ImportError."""
    index = folder / INDEX
    if not index.is_file():
        raise ValueError(f"{index}: is not there; needs a folder that deploy.predict wrote")
    images: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    names: dict[int, str] = {}
    for entry in PredictionIndex(folder).entries:
        if "error" in entry or "frames" in entry:  # frames of videos are no image files
            continue
        path = folder / f"{entry['name']}.png"
        if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit must not be below predict's
            pixels = entry["width"] * entry["height"]
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, pixels)
        with Image.open(path) as picture:
            labels = np.asarray(picture)
            if "classes" not in picture.info:
                raise ValueError(f"{path}: names no classes; predict it again")
            classes = {int(i): name for i, name in json.loads(picture.info["classes"]).items()}
        for i, name in classes.items():
            if names.setdefault(i, name) != name:
                raise ValueError(
                    f"{path}: id {i} is {name}, in other maps {names[i]}; "
                    "predict with one segmenter into a folder"
                )
        number = len(images) + 1
        images.append(
            {
                "id": number,
                "file_name": entry["source"],
                "width": labels.shape[1],
                "height": labels.shape[0],
            }
        )
        for one in pieces(labels, polygons, min_area):
            found.append({"id": len(found) + 1, "image_id": number, "iscrowd": 0} | dict(one))
    return {
        "images": images,
        "annotations": found,
        "categories": [{"id": i, "name": names[i]} for i in sorted(names) if i != BACKGROUND],
    }


def pieces(labels: np.ndarray, polygons: bool, min_area: int) -> Iterator[Mapping[str, Any]]:
    """The classes of each connected piece of the foreground, largest piece first.

    labels: (H, W) uint8. min_area: pixels of a class in a piece. Raises ImportError that says what
    to install.
    """
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError(f"{error}; COCO files need: pip install '.[convert]'") from error

    numbers = number_people(labels, min_area)
    for instance in range(1, int(numbers.max()) + 1):
        inside = numbers == instance
        for label in np.unique(labels[inside]):
            mask = inside & (labels == label)
            if (area := int(mask.sum())) < min_area:
                continue
            encoded = coco.encode(np.asfortranarray(mask, np.uint8))
            rle = {"size": encoded["size"], "counts": encoded["counts"].decode()}
            yield {
                "category_id": int(label),
                "instance": instance,
                "area": area,
                "bbox": [float(value) for value in coco.toBbox(encoded)],
                "segmentation": outlines(mask) if polygons else rle,
            }


def outlines(mask: np.ndarray) -> list[list[float]]:
    """Outer outlines of a mask (H, W) bool as COCO has them: x, y, x, y, ..."""
    from contourpy import FillType, contour_generator

    height, width = mask.shape
    # With a border, so that outlines close at the edge of the image.
    generator = contour_generator(
        np.arange(-0.5, width + 1),
        np.arange(-0.5, height + 1),
        np.pad(mask, 1).astype(float),
        fill_type=FillType.OuterOffset,
    )
    points, offsets = generator.filled(0.5, np.inf)[:2]
    result = []
    for ring, starts in zip(points, offsets, strict=True):
        assert ring is not None and starts is not None, "which contourpy has for other kinds"
        outer = ring[: starts[1] - 1]  # the last point is the first one again
        result.append(np.clip(outer, 0, [width, height]).round(2).ravel().tolist())
    return result


if __name__ == "__main__":
    main()
