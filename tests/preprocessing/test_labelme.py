"""Shapes and labels of labelme's JSON that other programs write, and those that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from preprocessing_stage.converters.labelme import labelme_source
from preprocessing_stage.dataset.check_dataset import DatasetError


def annotate(folder: Path, name: str, *shapes: tuple[str, str, list[list[float]]]) -> None:
    """A photograph of 16 x 16 pixels with shapes: label, kind, points."""
    Image.new("RGB", (16, 16)).save(folder / f"{name}.png")
    content: dict[str, Any] = {"imagePath": f"{name}.png", "imageWidth": 16, "imageHeight": 16}
    content["shapes"] = [
        {"label": label, "shape_type": kind, "points": points} for label, kind, points in shapes
    ]
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_labels_that_differ_in_case_alone_are_one_class(tmp_path: Path) -> None:
    annotate(tmp_path, "a", ("cat", "rectangle", [[0, 0], [3, 3]]))
    annotate(tmp_path, "b", ("Cat", "rectangle", [[0, 0], [3, 3]]))
    source = labelme_source(tmp_path)
    assert source.classes == {0: "background", 1: "Cat"}
    assert (source.samples[0].read_labels()[:4, :4] == 1).all()


def test_folders_below_become_part_of_the_ids_and_of_messages(tmp_path: Path) -> None:
    for name in ("a", "day 1/a", "day 2/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        annotate((tmp_path / name).parent, "a", ("cat", "rectangle", [[0, 0], [3, 3]]))
    samples = labelme_source(tmp_path).samples
    assert [sample.id for sample in samples] == ["a", "day 1_a", "day 2_a"]
    assert [sample.image.parent.name for sample in samples][1:] == ["day 1", "day 2"]
    assert all((sample.read_labels()[:4, :4] == 1).all() for sample in samples)
    (tmp_path / "day 2/a.json").write_text("{")
    with pytest.raises(DatasetError, match=r"day 2/a\.json: no JSON"):
        labelme_source(tmp_path)


def test_what_macos_puts_beside_files_of_an_archive_is_left_out(tmp_path: Path) -> None:
    annotate(tmp_path, "a", ("cat", "rectangle", [[0, 0], [3, 3]]))
    for folder in (tmp_path, tmp_path / "__MACOSX"):
        folder.mkdir(exist_ok=True)
        (folder / "._a.json").write_bytes(b"\0\5\x16\7")
    assert [sample.id for sample in labelme_source(tmp_path).samples] == ["a"]


def test_the_photograph_in_the_file_is_not_kept(tmp_path: Path) -> None:
    annotate(tmp_path, "a", ("cat", "rectangle", [[0, 0], [3, 3]]))
    content = json.loads((tmp_path / "a.json").read_text()) | {"imageData": "Zm9v"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    [sample] = labelme_source(tmp_path).samples
    assert "Zm9v" not in str(sample.read_labels.args)  # type: ignore[attr-defined]


def test_a_rectangle_may_have_four_corners(tmp_path: Path) -> None:
    corners = [[9.0, 2.0], [4.0, 2.0], [4.0, 12.0], [9.0, 12.0]]
    annotate(tmp_path, "a", ("cat", "rectangle", corners))
    annotate(tmp_path, "b", ("cat", "rectangle", [corners[1], corners[3]]))
    four, two = (sample.read_labels() for sample in labelme_source(tmp_path).samples)
    np.testing.assert_array_equal(four, two)
    assert four[2:13, 4:10].all() and four.sum() == 11 * 6


def test_shapes_of_too_few_or_too_many_points_are_all_named(tmp_path: Path) -> None:
    whole = ("cat", "circle", [[8.0, 8.0], [8.0, 12.0]])
    annotate(tmp_path, "a", whole, ("cat", "circle", [[8, 8], [8, 12], [12, 8]]))
    annotate(tmp_path, "b", ("dog", "rectangle", [[8, 8]]), ("cat", "circle", [[8, 8]]))
    with pytest.raises(DatasetError) as refused:
        labelme_source(tmp_path)
    assert refused.value.problems == [
        "a.json: shapes.1 (cat) is a circle, needs 2 points, has 3; draw it again",
        "b.json: shapes.0 (dog) is a rectangle, needs 2 points, has 1; draw it again",
        "b.json: shapes.1 (cat) is a circle, needs 2 points, has 1; draw it again",
    ]
