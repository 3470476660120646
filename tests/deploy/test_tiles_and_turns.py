"""Panoramas in squares, and photographs that lie on their side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_files import photograph
from PIL import Image
from predict_runs import index, run, write
from tiny_segmenter import TREE, tiny_segmenter

from deploy.predict import tiles
from deploy.predict.tiles import segment_tiles
from deploy.predict.turns import segment_any_turn, sureness
from final_model_stage import image_reader
from final_model_stage.segmentation import Segmentation
from preprocessing_stage.dataset.dataset_folder import read_labels

LEAVES = [leaf.id for leaf in TREE.leaves]
HEAD = LEAVES.index(4)


def found(head: np.ndarray) -> Segmentation:
    """A prediction in which only the head (h, w), from 0 to 1, and the background are possible."""
    values = np.zeros((len(LEAVES), *head.shape), np.float32)
    values[LEAVES.index(0)], values[HEAD] = 1 - head, head
    labels = np.where(head > 0.5, 4, 0).astype(np.uint8)
    return Segmentation(labels, values, TREE)


def of_each_pixel(image: np.ndarray) -> Segmentation:
    return found(image[..., 0].astype(np.float32) / 255)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SIDES", (24, 32))
    monkeypatch.setattr(tiles, "MIN_SIDE", 1)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(20, 300), (133, 41), (64, 64), (33, 32), (1, 90), (300, 20)])
def test_what_depends_on_a_pixel_alone_is_the_same_in_tiles(size: tuple[int, int]) -> None:
    image = np.asarray(photograph(size))
    result, expected = segment_tiles(of_each_pixel, image), of_each_pixel(image)
    np.testing.assert_allclose(result.leaf_probabilities, expected.leaf_probabilities, atol=1e-6)
    np.testing.assert_allclose(result.uncertainty, expected.uncertainty, atol=1e-5)
    np.testing.assert_array_equal(result.labels, expected.labels)
    assert result.leaf_probabilities.dtype == np.float32


@pytest.mark.usefixtures("small_tiles")
def test_a_photograph_no_larger_than_a_tile_is_seen_once() -> None:
    seen = []

    def segment(image: np.ndarray) -> Segmentation:
        seen.append(image.shape)
        return of_each_pixel(image)

    segment_tiles(segment, np.asarray(photograph((24, 20))))
    assert seen == [(24, 20, 3)]
    segment_tiles(segment, np.asarray(photograph((20, 60))))
    assert seen[1:] == [(20, 60, 3), *[(20, 20, 3)] * 5]
    segment_tiles(segment, np.asarray(photograph((32, 64))))
    assert seen[7:] == [(32, 64, 3), *[(24, 24, 3)] * 10, *[(32, 32, 3)] * 3]


def test_a_strip_in_which_nobody_can_be_seen_is_seen_once() -> None:
    calls = []
    segment_tiles(lambda image: calls.append(image) or of_each_pixel(image), np.zeros((9, 999, 3)))
    assert len(calls) == 1


@pytest.mark.usefixtures("small_tiles")
def test_people_whom_only_the_tiles_show_are_found_without_seams() -> None:
    """The whole sees nobody; every other tile is less sure."""
    calls = []

    def segment(image: np.ndarray) -> Segmentation:
        calls.append(1)
        value = 0.0 if image.shape[1] > 32 else 0.8 + 0.1 * (len(calls) % 2)
        return found(np.full(image.shape[:2], value, np.float32))

    result = segment_tiles(segment, np.zeros((32, 200, 3), np.uint8))
    assert (result.labels == 4).all()
    head = result.leaf_probabilities[HEAD]
    assert np.ptp(head) > 0.03 > 3 * np.abs(np.diff(head)).max()


@pytest.mark.usefixtures("small_tiles")
def test_squares_are_cut_from_more_pixels_than_the_whole_is_predicted_from(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_reader, "WORK_SIDE", 48)
    monkeypatch.setattr(tiles, "PIXELS", 2 * 48**2)
    write("crowd.png", size=(80, 120))
    assert run("crowd.png", "--tiles", "--overlay") == 0
    with Image.open("out/overlay/crowd.jpg") as picture:
        assert picture.size == (60, 40)
    image = np.asarray(photograph((80, 120))).reshape(40, 2, 60, 2, 3).mean((1, 3))
    expected = segment_tiles(tiny_segmenter().segment, (image + 0.5).astype(np.uint8)).labels
    labels = read_labels("out/crowd.png")
    np.testing.assert_array_equal(labels, expected.repeat(2, 0).repeat(2, 1))


def upright_only(sure: float, unsure: float) -> Callable[[np.ndarray], Segmentation]:
    """Finds the head where red is, surely if that is at the top."""

    def segment(image: np.ndarray) -> Segmentation:
        red = image[..., 0] > 99
        top = red[: len(red) // 3].sum() > 0.9 * red.sum()
        return found(np.where(red, sure if top else unsure, 0.1).astype(np.float32))

    return segment


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_surest_turn_is_taken_and_turned_back(turns: int) -> None:
    upright = np.zeros((30, 40, 3), np.uint8)
    upright[2:7, 10:20, 0] = 200
    image = np.rot90(upright, turns)
    result = segment_any_turn(upright_only(0.9, 0.7), image)
    expected = upright_only(0.9, 0.7)(upright)
    for name, axes in (("labels", (0, 1)), ("uncertainty", (0, 1)), ("leaf_probabilities", (1, 2))):
        turned = np.rot90(getattr(expected, name), turns, axes)
        np.testing.assert_array_equal(getattr(result, name), turned)


def test_a_photograph_is_not_turned_for_little() -> None:
    image = np.zeros((40, 30, 3), np.uint8)
    image[30:35, 10:20, 0] = 200  # at the bottom
    segment = upright_only(0.77, 0.7)
    assert sureness(segment_any_turn(segment, image)) == pytest.approx(0.7)
    segment = upright_only(0.79, 0.7)
    assert sureness(segment_any_turn(segment, image)) == pytest.approx(0.79)


def test_where_nobody_is_found_nothing_is_turned() -> None:
    result = segment_any_turn(of_each_pixel, np.zeros((20, 30, 3), np.uint8))
    assert sureness(result) == 0 and result.labels.shape == (20, 30)


def test_panoramas_are_told_of_tiles(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("wide.png", size=(20, 60))
    write("not.png", size=(20, 59))
    assert run("wide.png", "not.png") == 0
    assert "--tiles" in index()["wide"]["notes"][0] and "notes" not in index()["not"]
    assert "wide.png: 60 x 20: people may be missed" in capsys.readouterr().err
    assert run("wide.png", "--tiles") == 0
    assert "notes" not in index()["wide"]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
    ("option", "how"), [("--tiles", segment_tiles), ("--any-turn", segment_any_turn)]
)
def test_the_options_change_the_prediction_and_what_is_done_without_is_not_done(
    option: str, how: Callable[..., Segmentation], place: Path
) -> None:
    write("a.png", size=(40, 90))
    assert run("a.png") == 0
    assert run("a.png", option, "--skip-existing", "--uncertainty") == 0
    image = np.asarray(photograph((40, 90)))
    expected = how(tiny_segmenter().segment, image)
    np.testing.assert_array_equal(read_labels("out/a.png"), expected.labels)
    assert index()["a"]["segmenter"].endswith("+" + option.removeprefix("--"))
    before = Path("out/a.png").stat().st_mtime_ns
    assert run("a.png", option, "--skip-existing", "--uncertainty") == 0
    assert Path("out/a.png").stat().st_mtime_ns == before
    assert run("a.png", "--skip-existing") == 0
    np.testing.assert_array_equal(read_labels("out/a.png"), tiny_segmenter()(image))
