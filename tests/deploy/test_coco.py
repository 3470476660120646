"""Predictions as COCO annotations, read back with COCO's own tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from predict_runs import run, write
from pycocotools import mask as coco
from pycocotools.coco import COCO

from deploy.coco.__main__ import main, outlines, pieces
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


def test_nothing_is_written_over(place: Path, monkeypatch, capsys) -> None:
    write("a.png")
    assert run("a.png") == 0
    Path("mine.json").write_text("mine")
    with pytest.raises(SystemExit):
        export(monkeypatch, "out", "--out", "mine.json")
    assert Path("mine.json").read_text() == "mine"
    assert "exists; give another name" in capsys.readouterr().err


def test_another_folder_is_refused_in_words(place: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        export(monkeypatch, ".", "--out", "people.json")
    assert (
        "index.jsonl: is not there; needs a folder that deploy.predict" in capsys.readouterr().err
    )
