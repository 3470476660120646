"""Shapes of labelme and instances of COCO, drawn over one another."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing_stage.converters.coco import coco_source
from preprocessing_stage.converters.labelme import draw_shapes, labelme_source
from preprocessing_stage.converters.source import IGNORED

ID_OF = {"background": 0, "hat": 1, "shoe": 2}


def drawn(*shapes: dict[str, Any]) -> np.ndarray:
    """Of 9 rows and 12 columns."""
    return draw_shapes({"imageWidth": 12, "imageHeight": 9, "shapes": shapes}, ID_OF)


def shape(kind: str, *points: tuple[float, float], label: str = "hat") -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points}


def test_a_polygon_is_what_lies_between_its_corners() -> None:
    found = drawn(shape("polygon", (1, 1), (7, 1), (1, 7)))
    row, column = np.indices((9, 12))
    inside = (row >= 1) & (column >= 1) & (row + column <= 8)
    np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize("points", [((2, 1), (5, 6)), ((5, 6), (2, 1)), ((2, 6), (5, 1))])
def test_a_rectangle_is_what_lies_between_any_two_opposite_corners(
    points: tuple[tuple[float, float], ...],
) -> None:
    expected = np.zeros((9, 12), int)
    expected[1:7, 2:6] = 1
    np.testing.assert_array_equal(drawn(shape("rectangle", *points)), expected)


def test_a_circle_has_a_centre_and_a_point_on_its_edge() -> None:
    found = drawn(shape("circle", (6, 4), (6, 1)))
    row, column = np.indices((9, 12))
    distance = np.hypot(row - 4, column - 6)
    assert (found[distance <= 2.5] == 1).all()
    assert (found[distance > 3.5] == 0).all()


def test_later_shapes_lie_over_earlier_ones_of_any_case() -> None:
    hat = shape("rectangle", (0, 0), (7, 8), label="Hat")
    shoe = shape("rectangle", (4, 0), (11, 8), label="SHOE")
    assert drawn(hat, shoe)[0].tolist() == 4 * [1] + 8 * [2]
    assert drawn(shoe, hat)[0].tolist() == 8 * [1] + 4 * [2]


def test_a_shape_without_a_type_is_a_polygon(tmp_path: Path) -> None:
    points = [[1, 1], [7, 1], [1, 7]]
    file = {"imagePath": "a.jpg", "imageWidth": 12, "imageHeight": 9}
    shapes = [{"label": "hat", "points": points}]
    (tmp_path / "a.json").write_text(json.dumps(file | {"shapes": shapes}))
    (tmp_path / "a.jpg").touch()
    [sample] = labelme_source(tmp_path).samples
    expected = drawn(shape("polygon", (1, 1), (7, 1), (1, 7)))
    np.testing.assert_array_equal(sample.read_labels(), expected)


def rectangle(number: int, category: int, width: int, crowd: bool = False) -> dict[str, Any]:
    """An instance of four rows and so many columns from the left on."""
    outline: Any = [[0, 0, width, 0, width, 4, 0, 4]]
    if crowd:  # rows of each column, where they change
        outline = {"size": [4, 10], "counts": [0, 4 * width, 4 * (10 - width)]}
    return {
        **{"id": number, "image_id": 1, "category_id": category, "segmentation": outline},
        **{"area": 4 * width, "bbox": [0, 0, width, 4], "iscrowd": int(crowd)},
    }


@pytest.mark.parametrize("order", permutations([(1, 6, False), (2, 3, False), (3, 9, True)]))
def test_small_instances_lie_over_large_ones_and_all_over_crowds(
    tmp_path: Path,
    order: tuple[tuple[int, int, bool], ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pycocotools")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 10}],
        "annotations": [rectangle(i, *some) for i, some in enumerate(order, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate("abc", 1)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.jpg").touch()
    [sample] = coco_source({"": tmp_path / "a.json"}, tmp_path).samples
    expected = 3 * [2] + 3 * [1] + 3 * [IGNORED] + [0]
    np.testing.assert_array_equal(sample.read_labels(), [expected] * 4)
    assert "1 of 3 annotations are crowds" in capsys.readouterr().err


def test_annotations_without_area_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    whole = rectangle(1, 1, 6)
    outlines: list[Any] = [[], None, [[0, 0, 9, 4]], [*whole["segmentation"], [0, 0, 9, 4]]]
    others = [whole | {"id": i, "segmentation": some} for i, some in enumerate(outlines, 2)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 10}],
        "annotations": [whole, *others],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "a.jpg").touch()
    [sample] = coco_source({"": tmp_path / "a.json"}, tmp_path).samples
    np.testing.assert_array_equal(sample.read_labels(), [6 * [1] + 4 * [0]] * 4)
    said = capsys.readouterr().err
    assert "a.json: 3 of 5 annotations, without area, left out" in said
    assert "crowds" not in said
