"""People one by one: connected pieces of the foreground, numbered. People who touch are one."""

from __future__ import annotations

from types import ModuleType
from typing import TypedDict

import numpy as np

from preprocessing_stage.dataset.class_tree import BACKGROUND

MIN_AREA = 20
"""Pixels; smaller pieces are noise, and stay in the label map alone."""
MAX_NUMBER = 2**16 - 1


class Person(TypedDict):
    """A piece, as index.jsonl has it."""

    instance: int
    box: list[int]
    """x, y, width, height in pixels."""
    area: int
    """Pixels."""


def number_people(labels: np.ndarray, min_area: int = MIN_AREA) -> np.ndarray:
    """(H, W) uint16: 1 for the largest piece, 2 for the next, ...; 0 for background and noise.

    labels: (H, W) uint8 leaf ids. Pixels that touch at a corner are connected. Raises ImportError.
    """
    connected, count = scipy_ndimage().label(labels != BACKGROUND, np.ones((3, 3)))
    sizes = np.bincount(connected.ravel(), minlength=count + 1)
    order = [i for i in np.argsort(-sizes, kind="stable") if i and sizes[i] >= min_area]
    numbers = np.zeros(count + 1, np.uint16)
    numbers[order[:MAX_NUMBER]] = np.arange(1, min(len(order), MAX_NUMBER) + 1)
    result: np.ndarray = numbers[connected]
    return result


def people(numbers: np.ndarray) -> list[Person]:
    """Of a map (H, W) uint16 of numbers, in their order."""
    areas = np.bincount(numbers.ravel())
    found: list[Person] = []
    for number, box in enumerate(scipy_ndimage().find_objects(numbers), 1):
        if box is not None:
            rows, columns = box
            place = [columns.start, rows.start]
            size = [columns.stop - columns.start, rows.stop - rows.start]
            found.append({"instance": number, "box": place + size, "area": int(areas[number])})
    return found


def scipy_ndimage() -> ModuleType:
    """Raises ImportError that says what to install."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError("people one by one need scipy: pip install '.[convert]'") from error
    module: ModuleType = ndimage
    return module
