"""The command line: what is read and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_files import photograph, video
from PIL import Image
from predict_runs import give_list, index, outputs, run, write
from tiny_segmenter import TREE, tiny_segmenter

from deploy.predict import __main__ as predict
from preprocessing_stage.dataset.dataset_folder import read_labels
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import class_colours, palette

# --- what is written -------------------------------------------------------------------------


def test_the_label_map_is_the_segmenter_s_with_colours_and_names(place: Path) -> None:
    image = np.asarray(Image.open(write("a.png")))
    assert run("a.png") == 0
    labels = tiny_segmenter()(image)
    assert len(np.unique(labels)) > 2
    np.testing.assert_array_equal(read_labels("out/a.png"), labels)
    with Image.open("out/a.png") as picture:
        assert picture.mode == "P"
        assert json.loads(picture.text["classes"]) == {
            str(leaf.id): leaf.name for leaf in TREE.leaves
        }
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), palette(TREE)[labels])
    assert outputs() == {"a.png", "index.jsonl"}


def test_index_counts_the_pixels_of_every_class(place: Path) -> None:
    write("a.png")
    run("a.png")
    labels = read_labels("out/a.png")
    entry = index()["a"]
    assert entry["source"] == str(place / "a.png")
    assert (entry["width"], entry["height"]) == (60, 40)
    areas = entry["areas"]
    for node in TREE.root.walk():
        if node is not TREE.root:
            assert areas[node.name] == np.isin(labels, TREE.ids(node.name)).sum()
    assert areas["background"] + areas["body"] == 40 * 60


def test_all_optional_files(place: Path) -> None:
    image = np.asarray(Image.open(write("a.png")))
    options = ["--overlay", "--level", "0", "--level", "1", "--probabilities", "--uncertainty"]
    assert run("a.png", *options) == 0
    assert outputs() == {
        *("a.png", "index.jsonl", "overlay/a.jpg", "level_0/a.png", "level_1/a.png"),
        *("probabilities/a.npz", "uncertainty/a.png"),
    }
    expected = tiny_segmenter().segment(image)
    with np.load("out/probabilities/a.npz") as found:
        np.testing.assert_allclose(
            found["probabilities"], expected.leaf_probabilities, atol=1e-3, rtol=0
        )
        assert found["ids"].tolist() == [leaf.id for leaf in TREE.leaves]
        assert found["names"].tolist() == [leaf.name for leaf in TREE.leaves]
    uncertainty = np.asarray(Image.open("out/uncertainty/a.png"))
    np.testing.assert_allclose(uncertainty / 255, expected.uncertainty, atol=1 / 255)
    with Image.open("out/overlay/a.jpg") as picture:
        covered = overlay(image, expected.labels, palette(TREE)).astype(int)
        assert np.abs(np.asarray(picture) - covered).mean() < 12
    labels = read_labels("out/a.png")
    for level, names in [(0, ["background", "body"]), (1, ["background", "upper", "leg"])]:
        with Image.open(f"out/level_{level}/a.png") as picture:
            ids = np.asarray(picture)
            assert json.loads(picture.text["classes"]) == {str(i): n for i, n in enumerate(names)}
            colours = np.asarray(picture.convert("RGB"))
        for number, name in enumerate(names):
            inside = np.isin(labels, TREE.ids(name))
            np.testing.assert_array_equal(ids == number, inside)
            assert (colours[inside] == class_colours(TREE)[name]).all()


def test_cutout_has_a_soft_edge_and_masks_are_of_any_level(place: Path) -> None:
    image = np.asarray(Image.open(write("a.png")))
    assert run("a.png", "--cutout", "--mask", "body", "--mask", "leg") == 0
    expected = tiny_segmenter().segment(image)
    with Image.open("out/cutout/a.png") as picture:
        assert picture.mode == "RGBA"
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[..., :3], image)
    body = expected.probability("body")
    assert (pixels[body > 0.76, 3] == 255).all() and (pixels[body < 0.24, 3] == 0).all()
    between = (body > 0.3) & (body < 0.7)
    assert between.any()
    np.testing.assert_allclose(pixels[between, 3] / 255, 2 * body[between] - 0.5, atol=0.01)
    for name in ("body", "leg"):
        inside = np.isin(expected.labels, TREE.ids(name))
        with Image.open(f"out/mask_{name}/a.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), inside * 255)


def test_a_mask_of_no_class_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.png")
    assert run("a.png", "--mask", "tail") == 2
    assert "--mask tail: this segmenter has background, body" in capsys.readouterr().err


def test_fast_is_one_view_by_each_expert(place: Path) -> None:
    with_tta, fast = tiny_segmenter(tta=True), tiny_segmenter()
    with_tta.save("models/segmenter")
    image = np.asarray(Image.open(write("a.png")))
    assert not np.array_equal(with_tta(image), fast(image))
    assert run("a.png", "--fast") == 0
    np.testing.assert_array_equal(read_labels("out/a.png"), fast(image))


def test_label_map_has_the_size_of_a_large_picture(place: Path) -> None:
    write("large.jpg", size=(3100, 4200))
    assert run("large.jpg", "--overlay") == 0
    assert read_labels("out/large.png").shape == (3100, 4200)
    assert max(Image.open("out/overlay/large.jpg").size) <= 2048
    assert sum(index()["large"]["areas"][name] for name in ("background", "body")) == 3100 * 4200


def test_maps_are_as_large_as_the_image_and_the_rest_as_what_is_predicted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("final_model_stage.image_reader.WORK_SIDE", 30)  # half of the image's
    write("a.png", size=(40, 60))
    options = ["--overlay", "--cutout", "--uncertainty", "--mask", "leg", "--level", "0"]
    assert run("a.png", *options, "--instances", "--probabilities") == 0
    maps = ("a.png", "uncertainty/a.png", "mask_leg/a.png", "level_0/a.png", "instances/a.png")
    assert {Image.open(f"out/{name}").size for name in maps} == {(60, 40)}
    assert {Image.open(f"out/{name}").size for name in ("overlay/a.jpg", "cutout/a.png")} == {
        (30, 20)
    }
    with np.load("out/probabilities/a.npz") as found:
        assert found["probabilities"].shape[1:] == (20, 30)


def test_a_level_that_the_tree_does_not_have_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    assert run("a.png", "--level", "3") == 2
    assert "--level 3: this segmenter has levels 0 to 2" in capsys.readouterr().err
    assert not Path("out").exists()


def test_video_comes_back_with_its_classes_coloured(place: Path) -> None:
    video(place / "clip.mov", (51, 67), codec="png")
    assert run("clip.mov") == 0
    entry = index()["clip"]
    assert (entry["width"], entry["height"], entry["frames"]) == (67, 51, 12)
    assert entry["seconds"] == pytest.approx(1.1)
    assert sum(entry["areas"][name] for name in ("background", "body")) == pytest.approx(51 * 67, 1)
    with av.open("out/clip.mp4") as container:
        frames = list(container.decode(video=0))
    assert [round(float(frame.time), 3) for frame in frames] == [k / 10 for k in range(12)]
    assert (frames[0].width, frames[0].height) == (68, 52)
    shown = frames[3].to_ndarray(format="rgb24")[:51, :67].astype(int)
    image = np.asarray(photograph((51, 67), 3))
    labels = tiny_segmenter()(image)
    covered = overlay(image, labels, palette(TREE))
    assert np.abs(shown - covered).mean() < 20 < np.abs(shown - image).mean()


# --- which files -----------------------------------------------------------------------------


def test_folders_patterns_files_and_a_list(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("in/a.png", "in/deep/b.JPG", "in/.hidden/c.png", "in/.d.png", "e.png", "f g.png"):
        write(name)
    for name in ("p1.png", "p2.png", "q1.png"):
        write(name)
    write("out/old.png")  # what lies in --out is no source
    give_list(monkeypatch, b"e.png\r\n\nf g.png\n./e.png\nout/old.png\n")
    assert run("in", "p*.png", str(place / "q*"), "e.png", "-") == 0
    assert sorted(index()) == ["a", "b", "e", "f g", "p1", "p2", "q1"]


def test_other_files_in_a_folder_are_reported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("in/a.png")
    for name in ("x.raw", "y.raw", "notes.txt"):
        Path("in", name).write_text("")
    assert run("in") == 0
    assert "2 .raw, 1 .txt" in capsys.readouterr().out


def test_all_sources_that_match_nothing_are_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    Path("empty").mkdir()
    assert run("a.png", "b.png", "*.webp", "empty") == 2
    error = capsys.readouterr().err
    assert all(f"{name}: " in error for name in ("b.png", "*.webp", "empty"))
    assert not Path("out").exists()


def test_a_source_is_never_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = write("out/a.png").read_bytes()
    assert run("out/a.png") == 2
    assert "written over" in capsys.readouterr().err
    assert run("out") == 2
    assert "is --out" in capsys.readouterr().err
    assert Path("out/a.png").read_bytes() == original


def test_results_inside_a_source_are_no_sources(place: Path) -> None:
    write("a.png")
    predict.main([".", "--out", "out"])
    predict.main([".", "--out", "out"])
    assert outputs() == {"a.png", "index.jsonl"}


# --- which segmenter -------------------------------------------------------------------------


def test_the_segmenter_that_is_taken_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    assert run("a.png") == 0
    assert "segmenter: models/segmenter\n" in capsys.readouterr().err
    Path("models/segmenter").rename("elsewhere")
    assert run("a.png", "--segmenter", "elsewhere") == 0
    assert "segmenter: elsewhere\n" in capsys.readouterr().err


def test_without_a_segmenter_it_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `pip install .`, in a folder that is not the project's."""
    monkeypatch.chdir(tmp_path)
    write("a.png")
    assert run("a.png") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path} has neither models/segmenter nor pretrained/default" in error
    assert "--segmenter FOLDER" in error
    assert not Path("out").exists()


def test_options_that_are_for_images_are_named_before_anything_runs(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    video(place / "clip.mp4", count=1)
    monkeypatch.setattr("deploy.predict.__main__.predict", lambda *_: iter(()))
    assert run("clip.mp4", "--level", "0", "--uncertainty", "--mask", "body") == 0
    assert "--level, --uncertainty: for images only" in capsys.readouterr().err
    write("a.png")
    assert run("a.png", "--frames", "--level", "0") == 0
    assert "--frames: has no effect" in (error := capsys.readouterr().err)
    assert "for images only" not in error
