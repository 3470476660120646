"""Predictions as COCO annotations, read back with COCO's own tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from predict_runs import index, run, write
from pycocotools import mask as coco
from pycocotools.coco import COCO

from deploy.coco.__main__ import main, outlines, pieces
from deploy.people import number_people, people
from deploy.predict.output_files import PredictionFiles, Wanted
from final_model_stage.image_reader import DecodedImage
from preprocessing_stage.dataset.dataset_folder import read_labels


def export(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["coco", *words])
    main()


@pytest.fixture
def labels() -> np.ndarray:
    """Two people who do not touch: one of two classes, and a smaller one of one; and a speck."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:20], labels[15:30, 5:20] = 4, 2
    labels[10:20, 40:50] = 2
    labels[35, 55] = 4
    return labels


def test_people_who_do_not_touch_are_numbered(labels: np.ndarray) -> None:
    found = [(p["instance"], p["category_id"], p["area"]) for p in pieces(labels, False, 20)]
    assert found == [(1, 2, 225), (1, 4, 150), (2, 2, 100)]


def test_rle_is_the_mask(labels: np.ndarray) -> None:
    for piece in pieces(labels, False, 20):
        mask = coco.decode(piece["segmentation"]).astype(bool)
        assert mask.sum() == piece["area"]
        assert (labels[mask] == piece["category_id"]).all()
        x, y, width, height = piece["bbox"]
        rows, columns = np.nonzero(mask)
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)


def test_polygons_cover_the_mask_also_at_the_edge() -> None:
    mask = np.zeros((20, 30), bool)
    mask[0:10, 0:12] = mask[12:20, 20:30] = True
    polygons = outlines(mask)
    assert len(polygons) == 2
    back = coco.decode(coco.merge(coco.frPyObjects(polygons, 20, 30))).astype(bool)
    assert (back & mask).sum() / (back | mask).sum() > 0.95


@pytest.mark.parametrize("words", [[], ["--polygons"]])
def test_a_folder_becomes_a_file_that_coco_reads(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    write("shots/a.png", 1)
    write("shots/b.png", 2)
    Path("shots/broken.png").write_bytes(b"no picture")
    assert run("shots") == 1
    export(monkeypatch, "out", "--out", "people.json", "--min-area", "1", *words)
    read = COCO("people.json")
    assert [Path(image["file_name"]).name for image in read.dataset["images"]] == ["a.png", "b.png"]
    assert all(category["id"] for category in read.dataset["categories"])
    labels = read_labels(Path("out/a.png"))
    for annotation in read.loadAnns(read.getAnnIds(imgIds=[1])):
        mask = read.annToMask(annotation).astype(bool)
        if not words:
            assert (labels[mask] == annotation["category_id"]).all()
            assert mask.sum() == annotation["area"]
    areas = {i: (labels == i).sum() for i in np.unique(labels) if i}
    noted: dict[int, int] = {}
    for annotation in json.loads(Path("people.json").read_text())["annotations"]:
        if annotation["image_id"] == 1:
            noted[annotation["category_id"]] = (
                noted.get(annotation["category_id"], 0) + annotation["area"]
            )
    assert noted == areas


def test_what_predict_wrote_is_read_however_large_and_after_a_kill(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("shots/a.png", 1)
    assert run("shots") == 0
    with Path("out/index.jsonl").open("a") as file:
        file.write('{"source": "/so')
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999)  # of 2,400; more than twice is an error
    export(monkeypatch, "out", "--out", "people.json")
    assert len(COCO("people.json").dataset["images"]) == 1


def test_nothing_is_written_over(place: Path, monkeypatch, capsys) -> None:
    write("a.png")
    assert run("a.png") == 0
    Path("mine.json").write_text("mine")
    with pytest.raises(SystemExit):
        export(monkeypatch, "out", "--out", "mine.json")
    assert Path("mine.json").read_text() == "mine"
    assert "exists; give another name" in capsys.readouterr().err


def test_maps_of_two_trees_are_not_mixed(place: Path, monkeypatch, capsys) -> None:
    write("a.png", 1)
    write("b.png", 2)
    assert run("a.png", "b.png") == 0
    with Image.open("out/b.png") as picture:
        classes = json.loads(picture.info["classes"])
        for text in (json.dumps(classes | {max(classes): "other"}), None):
            info = PngInfo()
            if text:
                info.add_text("classes", text)
            picture.save("out/b.png", pnginfo=info)
            with pytest.raises(SystemExit):
                export(monkeypatch, "out", "--out", "people.json")
    refusals = capsys.readouterr().err
    assert f"b.png: id {max(classes)} is other, in other maps" in refusals
    assert "b.png: names no classes" in refusals
    assert not Path("people.json").exists()


def test_another_folder_is_refused_in_words(place: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        export(monkeypatch, ".", "--out", "people.json")
    assert (
        "index.jsonl: is not there; needs a folder that deploy.predict" in capsys.readouterr().err
    )


def test_the_map_of_numbers_and_the_boxes(labels: np.ndarray) -> None:
    numbers = number_people(labels)
    assert numbers.dtype == np.uint16
    assert (numbers[5:30, 5:20] == 1).all() and (numbers[10:20, 40:50] == 2).all()
    assert numbers[35, 55] == 0, "a speck"
    assert people(numbers) == [
        {"instance": 1, "box": [5, 5, 15, 25], "area": 375},
        {"instance": 2, "box": [40, 10, 10, 10], "area": 100},
    ]


def test_people_who_touch_are_one() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[:10, :10] = labels[10:, 10:] = 2
    assert number_people(labels).max() == 1


def test_no_people() -> None:
    assert people(number_people(np.zeros((4, 5), np.uint8))) == []


def test_predict_writes_numbers_and_boxes_when_asked(place: Path) -> None:
    write("a.png", 1)
    assert run("a.png", "--instances") == 0
    entry = index()["a"]
    with Image.open("out/instances/a.png") as picture:
        assert picture.mode == "I;16" and picture.size == (entry["width"], entry["height"])
        numbers = np.asarray(picture)
    assert np.array_equal(numbers, number_people(read_labels(Path("out/a.png"))))
    assert entry["people"] == people(numbers)
    assert "instances/a.png" in entry["files"]
    assert run("a.png") == 0
    assert "people" not in index()["a"]


def test_numbers_of_a_large_photograph_are_as_large_as_it(place: Path, tree) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[10:30, 20:40] = 2
    files = PredictionFiles(Path("out"), tree, Wanted(instances=True))
    image = DecodedImage(np.zeros((40, 60, 3), np.uint8), (80, 120))
    Path("out/instances").mkdir(parents=True)
    assert files.write_instances("a", image, labels) == [
        {"instance": 1, "box": [40, 20, 40, 40], "area": 1600}
    ]


def test_without_scipy_the_remedy_comes_before_anything_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert run("a.png", "--instances") == 2
    assert "need scipy: pip install '.[convert]'" in capsys.readouterr().err
    assert not Path("out").exists()


def test_without_pycocotools_the_file_is_not_made_and_the_remedy_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    assert run("a.png") == 0
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(SystemExit, match="2"):
        export(monkeypatch, "out", "--out", "people.json")
    assert "pip install '.[convert]'" in capsys.readouterr().err
    assert not Path("people.json").exists()
