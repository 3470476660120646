from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.naive_bayes import GaussianNB

from preprocessing_stage import render_people as rendering
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.params import RenderPeopleParams
from preprocessing_stage.rendering import picture
from preprocessing_stage.rendering.parts import PARTS

pytestmark = pytest.mark.slow

PARAMS = RenderPeopleParams(seed=1, train=9, val=2, size=32)
COLOURS = np.arange(768).reshape(256, 3).astype(np.uint8)
TRAIN, VAL = 60, 20  # samples that the statistics below are about
LISTING = {"train_id.txt", "val_id.txt", "classes.txt"}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        stay_in_this_process(patch)
        return render(tmp_path_factory.mktemp("data"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stay_in_this_process(monkeypatch)


def stay_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the seconds that new processes take, and open to monkeypatching."""
    monkeypatch.setattr(rendering, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Images (TRAIN + VAL, 48, 48, 3) and label maps (TRAIN + VAL, 48, 48)."""
    wanted = [("train", i) for i in range(TRAIN)] + [("val", i) for i in range(VAL)]
    pairs = [rendering.render_sample(1, split, i, 48) for split, i in wanted]
    images = [np.asarray(image.convert("RGB")) for image, _ in pairs]
    return np.stack(images), np.stack([labels for _, labels in pairs])


def render(folder: Path, workers: int = 1, colours: np.ndarray = COLOURS, **changes: int) -> Path:
    out = folder / "rendered_people"
    rendering.render_people(PARAMS.model_copy(update=changes), colours, out, workers)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def break_off(monkeypatch: pytest.MonkeyPatch, folder: Path, after: int, **changes: Any) -> Path:
    """The folder that a run leaves which fails after so many samples."""
    done: list[int] = []

    def fail_then(seed: int, split: str, index: int, size: int) -> tuple[Image.Image, np.ndarray]:
        if len(done) == after:
            raise RuntimeError("broken off")
        done.append(index)
        return rendering_sample(seed, split, index, size)

    rendering_sample = rendering.render_sample
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="broken off"):
        patch.setattr(rendering, "render_sample", fail_then)
        render(folder, **changes)
    (left,) = folder.glob("*.part")
    return left


def test_same_bytes_from_any_number_of_processes(rendered: Path, tmp_path: Path) -> None:
    assert contents(render(tmp_path, workers=3)) == contents(rendered)


@pytest.mark.usefixtures("in_this_process")
def test_another_seed_changes_every_sample(rendered: Path, tmp_path: Path) -> None:
    ours, others = contents(rendered), contents(render(tmp_path, seed=2))
    assert ours.keys() == others.keys()
    assert {name for name in ours if ours[name] == others[name]} == LISTING


def test_no_sample_is_there_twice(rendered: Path) -> None:
    for kind in ("JPEGImages", "gt_masks"):
        files = contents(rendered / kind)
        assert len(set(files.values())) == len(files) == 9 + 2


@pytest.mark.usefixtures("in_this_process")
def test_more_samples_keep_the_earlier(rendered: Path, tmp_path: Path) -> None:
    all_files, fewer = contents(rendered), contents(render(tmp_path, train=3, val=1))
    files = fewer.keys() - LISTING
    assert len(files) == 2 * (3 + 1)
    assert all(fewer[name] == all_files[name] for name in files)


def test_layout_and_sizes(rendered: Path) -> None:
    folder = DatasetFolder(rendered)
    assert folder.ids("train") == [f"train_{i:05d}" for i in range(9)]
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
    assert len(contents(rendered)) == 2 * (9 + 2) + len(LISTING)


def test_label_maps_have_the_given_palette(rendered: Path) -> None:
    with Image.open(rendered / "gt_masks" / "train_00000.png") as image:
        assert image.getpalette()[: 3 * 7] == COLOURS[:7].ravel().tolist()  # type: ignore[index]


def test_gray_is_exact_after_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "GRAY_SHARE", 1.0)
    for folder in ("JPEGImages", "gt_masks"):
        (tmp_path / folder).mkdir()
    name = rendering.write_sample(("train", 0), PARAMS, COLOURS, tmp_path)
    image = read_image(tmp_path / "JPEGImages" / f"{name}.jpg")
    assert np.ptp(image, axis=2).max() == 0
    assert np.ptp(image) > 30


def test_about_two_percent_are_gray() -> None:
    plain = np.full((8, 8, 3), (90, 120, 60), np.float32)
    photographs = [picture.photograph(plain, np.random.default_rng(i)) for i in range(500)]
    assert 3 <= sum(photograph.mode == "L" for photograph in photographs) <= 20


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_off_run_goes_on(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = break_off(monkeypatch, tmp_path, after=3)
    assert not (tmp_path / "rendered_people").exists()
    assert len(list(left.glob("JPEGImages/*.jpg"))) == 3

    asked = []
    whole = rendering.render_sample
    monkeypatch.setattr(
        rendering, "render_sample", lambda *which: asked.append(which[1:3]) or whole(*which)
    )
    assert contents(render(tmp_path)) == contents(rendered)
    assert asked == [*(("train", i) for i in range(3, 9)), ("val", 0), ("val", 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["rendered_people"]


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("changes", [{"seed": 2}, {"size": 48}])
def test_what_other_params_left_is_not_used(
    changes: dict[str, int], rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(monkeypatch, tmp_path, after=2, **changes)
    assert contents(render(tmp_path)) == contents(rendered)
    assert [path.name for path in tmp_path.iterdir()] == ["rendered_people"]


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_off_run_of_more_samples_leaves_none_of_them(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(monkeypatch, tmp_path, after=11, train=14)
    assert contents(render(tmp_path)) == contents(rendered)


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_off_run_with_another_palette_leaves_none_of_it(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(monkeypatch, tmp_path, after=1, colours=COLOURS[::-1].copy())
    assert contents(render(tmp_path)) == contents(rendered)


@pytest.mark.usefixtures("in_this_process")
def test_a_new_data_set_replaces_the_old(rendered: Path, tmp_path: Path) -> None:
    stale = tmp_path / "rendered_people" / "gt_masks" / "train_00099.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert contents(render(tmp_path)) == contents(rendered)


@pytest.mark.usefixtures("in_this_process")
def test_the_old_data_set_stays_until_the_new_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "rendered_people" / "train_id.txt"
    old.parent.mkdir()
    old.write_text("old")
    break_off(monkeypatch, tmp_path, after=1)
    assert old.read_text() == "old"


@pytest.mark.usefixtures("in_this_process")
def test_a_killed_write_leaves_no_half_file_behind(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, calls = os.fsync, count(1)

    def killed(descriptor: int) -> None:
        if (
            next(calls) >= 3
        ):  # the first label map and its folder are written, the photograph is not
            raise OSError("killed")
        flush(descriptor)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(os, "fsync", killed)
        render(tmp_path)
    assert not list(tmp_path.rglob("*.jpg"))
    for labels in tmp_path.rglob("*.png"):  # as if these had been cut off too
        labels.write_bytes(labels.read_bytes()[:50])
    assert contents(render(tmp_path)) == contents(rendered)


def test_labels_are_the_seven_parts(samples: tuple[np.ndarray, np.ndarray]) -> None:
    assert set(np.unique(samples[1])) == set(range(len(PARTS)))


def test_parts_are_as_frequent_as_in_photographs(samples: tuple[np.ndarray, np.ndarray]) -> None:
    """As in Pascal-Part; 80 samples tell shares up to about a third and presence up to .06."""
    labels = samples[1]
    shares = {part: float((labels == i).mean()) for i, part in enumerate(PARTS)}
    photographs = {
        **{"low_hand": 0.0219, "torso": 0.0695, "low_leg": 0.0131},
        **{"head": 0.0602, "up_leg": 0.0226, "up_hand": 0.0265},
    }
    for part, share in photographs.items():
        assert share / 2 <= shares[part] <= share * 2, part
    present = {part: (labels == i).any(axis=(1, 2)).mean() for i, part in enumerate(PARTS)}
    assert 0.5 <= present.pop("low_leg") <= 0.9
    assert 0.6 <= present.pop("up_leg") < 1
    assert min(present.values()) >= 0.8


@pytest.mark.parametrize("priors", [None, np.full(7, 1 / 7)], ids=["frequent", "equal"])
def test_colour_and_place_alone_do_not_tell_the_part(
    priors: np.ndarray | None, samples: tuple[np.ndarray, np.ndarray]
) -> None:
    """Naive Bayes on R, G, B, row and column of each pixel."""
    images, labels = samples
    places = np.broadcast_to(np.moveaxis(np.indices((48, 48)), 0, -1), (TRAIN + VAL, 48, 48, 2))
    features = np.concatenate([images, places], axis=3).astype(float)
    bayes = GaussianNB(priors=priors)
    bayes.fit(features[:TRAIN].reshape(-1, 5), labels[:TRAIN].ravel())
    guess, truth = bayes.predict(features[TRAIN:].reshape(-1, 5)), labels[TRAIN:].ravel()
    part = np.arange(1, 7)[:, None]
    iou = ((guess == part) & (truth == part)).sum(1) / ((guess == part) | (truth == part)).sum(1)
    assert iou.mean() < 0.2
    assert (guess == truth).mean() > 0.1  # it did learn something
