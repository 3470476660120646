from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessing_stage import draw_people as drawing
from preprocessing_stage.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.params import DrawPeopleParams

PARAMS = DrawPeopleParams(seed=1, train=40, val=2, size=32)
GRAY = "train_00015"  # the one without colour that this seed draws
COLOURS = np.arange(768).reshape(256, 3).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data"))


def draw(folder: Path, workers: int = 1, **changes: int) -> Path:
    out = folder / "drawn_people"
    drawing.draw_people(PARAMS.model_copy(update=changes), COLOURS, out, workers)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def centre(weights: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(weights.shape)
    return float(np.average(rows, weights=weights)), float(np.average(columns, weights=weights))


def test_same_bytes_from_any_number_of_processes(drawn: Path, tmp_path: Path) -> None:
    assert contents(draw(tmp_path, workers=3)) == contents(drawn)


def test_another_seed_changes_every_sample(drawn: Path, tmp_path: Path) -> None:
    ours, others = contents(drawn), contents(draw(tmp_path, seed=2))
    assert ours.keys() == others.keys()
    equal = {name for name in ours if ours[name] == others[name]}
    assert equal == {"train_id.txt", "val_id.txt", "classes.txt"}


def test_splits_share_no_sample(drawn: Path) -> None:
    files = contents(drawn)
    assert files["gt_masks/train_00000.png"] != files["gt_masks/val_00000.png"]


def test_more_samples_keep_the_earlier(drawn: Path, tmp_path: Path) -> None:
    all_files, fewer = contents(drawn), contents(draw(tmp_path, train=3, val=1))
    samples = {name for name in fewer if not name.endswith(".txt")}
    assert len(samples) == 2 * (3 + 1)
    assert all(fewer[name] == all_files[name] for name in samples)


def test_layout_and_sizes(drawn: Path) -> None:
    folder = DatasetFolder(drawn)
    assert len(folder.ids("train")) == 40
    assert folder.ids("val") == ["val_00000", "val_00001"]
    assert folder.class_names() == {
        0: "background",
        1: "low_hand",
        2: "torso",
        3: "low_leg",
        4: "head",
        5: "up_leg",
        6: "up_hand",
    }
    for sample in folder.ids("train") + folder.ids("val"):
        image, labels = folder.image_path(sample), folder.label_path(sample)
        assert image is not None and read_image(image).shape == (32, 32, 3)
        assert labels is not None and read_labels(labels).shape == (32, 32)


def test_label_maps_have_the_given_palette(drawn: Path) -> None:
    with Image.open(drawn / "gt_masks" / "train_00000.png") as image:
        assert image.getpalette()[: 3 * 7] == COLOURS[:7].ravel().tolist()  # type: ignore[index]


def test_parts_are_as_frequent_as_in_photographs(drawn: Path) -> None:
    labels = [read_labels(path) for path in drawn.glob("gt_masks/train_*.png")]
    present = np.array([np.bincount(some.ravel(), minlength=256) > 0 for some in labels])
    assert set(np.flatnonzero(present.any(axis=0))) == set(range(7))
    frequency = dict(zip(drawing.PARTS, present.mean(axis=0), strict=False))
    assert 0.55 <= frequency.pop("low_leg") <= 0.85
    assert 0.55 <= frequency.pop("up_leg") < 1
    assert min(frequency.values()) >= 0.9


def test_about_two_percent_are_gray(drawn: Path) -> None:
    images = {path.stem: read_image(path) for path in drawn.glob("JPEGImages/train_*.jpg")}
    assert [name for name, image in images.items() if np.ptp(image, axis=2).max() == 0] == [GRAY]
    grays = [drawing.draw_sample(5, "train", i, 32)[0].mode == "L" for i in range(150)]
    assert 1 <= sum(grays) <= 8


def test_gray_is_exact_after_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "GRAY_SHARE", 1.0)
    for folder in ("JPEGImages", "gt_masks"):
        (tmp_path / folder).mkdir()
    name = drawing.write_sample(("train", 0), PARAMS, COLOURS, tmp_path)
    image = read_image(tmp_path / "JPEGImages" / f"{name}.jpg")
    assert np.ptp(image, axis=2).max() == 0
    assert np.ptp(image) > 30


def test_labels_lie_where_the_image_shows_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    triangle = np.array([0.1 + 0.2j, 0.8 + 0.1j, 0.3 + 0.9j])
    head = drawing.Shape(drawing.HEAD, triangle, np.full(3, 255.0))
    monkeypatch.setattr(drawing, "_background", lambda rng, size: Image.new("RGB", (size, size)))
    monkeypatch.setattr(drawing, "_scene", lambda rng: [head])
    monkeypatch.setattr(drawing, "_photograph", lambda rng, image: image)
    is_mirrored = set()
    for index in range(8):
        image, labels = drawing.draw_sample(1, "train", index, 64)
        brightness = np.asarray(image)[..., 0].astype(int)
        assert set(np.unique(labels)) == {drawing.BACKGROUND, drawing.HEAD}
        assert (labels[brightness == 255] == drawing.HEAD).all()
        assert (labels[brightness == 0] == drawing.BACKGROUND).all()
        for seen, labelled in zip(centre(brightness), centre(labels > 0), strict=True):
            assert seen == pytest.approx(labelled, abs=0.25)
        is_mirrored.add(bool(centre(labels > 0)[1] > 31.5))
    assert is_mirrored == {True, False}


def test_a_new_data_set_replaces_the_old(tmp_path: Path) -> None:
    stale = tmp_path / "drawn_people" / "gt_masks" / "train_00099.png"
    leftover = tmp_path / "drawn_people.part" / "gt_masks" / "train_00098.png"
    for path in (stale, leftover):
        path.parent.mkdir(parents=True)
        path.touch()
    out = draw(tmp_path, train=2, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn_people"]
    assert len(contents(out)) == 2 * (2 + 1) + 3
