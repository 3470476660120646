"""The command line: what is read, what is written, what is skipped, and how much is in memory."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest
from input_kinds import (
    KINDS,
    PNG,
    ROOT,
    TREE,
    make_all,
    photograph,
    run_predict,
    table,
    tiny_segmenter,
    video,
    written_table,
)
from PIL import Image

from final_model_stage import predict, predict_pictures
from final_model_stage.decode import Picture
from final_model_stage.predict_pictures import BATCH, Job
from final_model_stage.prediction_files import PredictionFiles, Wanted
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.dataset_folder import read_labels
from preprocessing_stage.overlay import overlay
from preprocessing_stage.palette import class_colours, palette


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmenter")
    tiny_segmenter().save(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, segmenter_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a segmenter where predict looks for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(segmenter_folder, "models/segmenter")
    return tmp_path


def write(path: str, seed: int = 0, size: tuple[int, int] = (40, 60)) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    photograph(size, seed).save(path)
    return Path(path)


def run(*words: str) -> int:
    try:
        predict.main([*words, "--out", "out", "--precision", "32-true"])
    except SystemExit as stop:
        if isinstance(stop.code, str):  # as the interpreter does with words
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    return 0


def index() -> dict[str, dict]:
    """By name; each name once."""
    lines = [json.loads(line) for line in Path("out/index.jsonl").read_text().splitlines()]
    assert len({line["source"] for line in lines}) == len(lines)
    return {line["name"]: line for line in lines}


def outputs() -> set[str]:
    return {str(p.relative_to("out")) for p in Path("out").rglob("*") if p.is_file()}


# --- what is written -------------------------------------------------------------------------


def test_label_map_is_what_the_segmenter_says_with_colours_and_names(place: Path) -> None:
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


def test_all_that_can_be_asked_for(place: Path) -> None:
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


def test_label_map_has_the_size_of_a_large_picture(place: Path) -> None:
    write("large.jpg", size=(3100, 4200))
    assert run("large.jpg", "--overlay") == 0
    assert read_labels("out/large.png").shape == (3100, 4200)
    assert max(Image.open("out/overlay/large.jpg").size) <= 2048
    assert sum(index()["large"]["areas"][name] for name in ("background", "body")) == 3100 * 4200


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
    monkeypatch.setattr(sys, "stdin", io.StringIO("e.png\r\n\nf g.png\n./e.png\n"))
    assert run("in", "p*.png", str(place / "q*"), "e.png", "-") == 0
    assert sorted(index()) == ["a", "b", "e", "f g", "p1", "p2", "q1"]


def test_what_a_folder_has_besides_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("in/a.png")
    for name in ("x.heic", "y.heic", "notes.txt"):
        Path("in", name).write_text("")
    assert run("in") == 0
    assert "2 .heic, 1 .txt" in capsys.readouterr().out


def test_sources_that_are_nothing_are_named_together(
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


def test_no_segmenter_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.png")
    assert run("a.png") == 2
    assert "pretrained/default" in capsys.readouterr().err


# --- names, and runs that go on --------------------------------------------------------------


def test_sources_of_one_stem_keep_apart_in_this_run_and_the_next(place: Path) -> None:
    for seed, name in enumerate(["1/a.png", "2/a.png", "3/a.jpg", "a_2.png", "4/A.png"]):
        write(name, seed)
    assert run("1", "2") == 0
    first = {line["source"]: line["name"] for line in index().values()}
    assert sorted(first.values()) == ["a", "a_2"]
    assert run("4", "3", "2", "a_2.png") == 0
    assert {source: index()[name]["source"] for source, name in first.items()} == {
        source: source for source in first
    }
    assert sorted(index()) == ["A_3", "a", "a_2", "a_2_2", "a_4"]
    for name, line in index().items():
        image = np.asarray(Image.open(line["source"]))
        np.testing.assert_array_equal(read_labels(f"out/{name}.png"), tiny_segmenter()(image))


def test_what_is_there_is_skipped_and_what_failed_is_tried_again(place: Path) -> None:
    write("in/a.png")
    write("in/c.png")
    Path("in/b.png").write_bytes(PNG[:99])
    assert run("in") == 1
    before = {name: Path("out", name).stat().st_mtime_ns for name in ("a.png", "c.png")}
    assert "truncated" in index()["b"]["error"]
    write("in/b.png")
    write("in/d.png")
    Path("out/c.png").unlink()
    assert run("in", "--skip-existing") == 0
    assert Path("out/a.png").stat().st_mtime_ns == before["a.png"]
    assert sorted(index()) == ["a", "b", "c", "d"]
    assert not any("error" in line for line in index().values())
    assert run("in", "--skip-existing", "--overlay") == 0
    assert len(list(Path("out/overlay").iterdir())) == 4


def test_a_killed_run_goes_on(place: Path) -> None:
    """Half a line in the index and the rest of a file that was being written."""
    for name in ("a.png", "b.png"):
        write(f"in/{name}")
    assert run("in/a.png") == 0
    with Path("out/index.jsonl").open("a") as file:
        file.write('{"source": "/so')
    before = Path("out/a.png").stat().st_mtime_ns
    assert run("in", "--skip-existing") == 0
    assert sorted(index()) == ["a", "b"]
    assert Path("out/a.png").stat().st_mtime_ns == before


def test_a_file_that_is_no_index_is_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    Path("out").mkdir()
    Path("out/index.jsonl").write_text("[1, 2]\n")
    assert run("a.png") == 2
    assert "out/index.jsonl: '[1, 2]" in capsys.readouterr().err
    assert Path("out/index.jsonl").read_text() == "[1, 2]\n"


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")

    def full(self: Image.Image, file: IO[bytes], *_: object, **__: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert run("a.png") == 1
    error = capsys.readouterr().err
    assert "No space left on device: 'out/a.png'" in error and "--skip-existing" in error
    assert outputs() == {"index.jsonl"}


# --- all kinds -------------------------------------------------------------------------------


def test_every_kind_of_input_does_what_the_docs_say(place: Path) -> None:
    make_all(place / "in")
    code, entries = run_predict(place / "in", place / "out")
    assert code == 1
    assert len(entries) == len(KINDS)
    assert table(entries) == written_table(), "renew it: python tests/input_kinds.py"


# --- threads and memory ----------------------------------------------------------------------


class Chain:
    """Stands for a segmenter; keeps the sizes of its batches."""

    tree = TREE

    def __init__(self) -> None:
        self.batches: list[int] = []

    def label(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, dict]]:
        self.batches.append(len(images))
        return [(np.zeros(image.shape[:2], np.uint8), {}) for image in images]


def jobs(count: int) -> list[Job]:
    return [Job(Path(f"/in/{i}.png"), str(i)) for i in range(count)]


def test_memory_does_not_grow_with_the_number_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most, lock = 0, threading.Lock()

    class Tracked(Picture):
        __hash__ = object.__hash__

    def decode(*_: object) -> Picture:
        nonlocal most
        picture = Tracked(np.zeros((4, 4, 3), np.uint8), (4, 4))
        with lock:
            alive.add(picture)
            most = max(most, len(alive))
        return picture

    monkeypatch.setattr(predict_pictures, "decode_picture", decode)
    chain = Chain()
    files = PredictionFiles(tmp_path, TREE, Wanted())
    entries = list(predict_pictures.predict_pictures(jobs(300), chain, files, 10**6))
    assert [entry["name"] for entry in entries] == [str(i) for i in range(300)]
    assert chain.batches == [BATCH] * (300 // BATCH) + [300 % BATCH]
    assert most <= 3 * BATCH


def test_reading_goes_on_while_the_network_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's first batch waits for a picture of the second to be read."""
    second = threading.Event()

    def decode(path: Path, _: int) -> Picture:
        if int(path.stem) == BATCH + 1:
            second.set()
        return Picture(np.zeros((4, 4, 3), np.uint8), (4, 4))

    class Waiting(Chain):
        def label(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, dict]]:
            assert second.wait(30)
            return super().label(images)

    monkeypatch.setattr(predict_pictures, "decode_picture", decode)
    files = PredictionFiles(tmp_path, TREE, Wanted())
    assert len(list(predict_pictures.predict_pictures(jobs(40), Waiting(), files, 10**6))) == 40


def test_any_tree_will_do(tmp_path: Path) -> None:
    tree = ClassTree({"scene": {"none": 0, "thing": {"tail": 200, "rest": {"a": 17, "b": 3}}}})
    files = PredictionFiles(tmp_path, tree, Wanted(levels=(1,)))
    labels = np.array([[0, 200], [17, 3]], np.uint8)
    areas = files.write("x", Picture(np.zeros((2, 2, 3), np.uint8), (4, 4)), labels, None)
    assert areas == {"none": 4, "thing": 12, "tail": 4, "rest": 8, "a": 4, "b": 4}
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png")[::2, ::2], labels)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "level_1/x.png")[::2, ::2], [[0, 1], [2, 2]]
    )


# --- Ray -------------------------------------------------------------------------------------


def test_ray_gives_the_same(place: Path) -> None:
    for seed in range(BATCH - 4):
        write(f"in/{seed}.png", seed, (20 + seed, 40))
    video(place / "in/clip.mp4", count=3)
    Path("in/bad.jpg").write_bytes(b"")
    assert run("in") == 1
    command = [sys.executable, "-m", "final_model_stage.predict", "in", "--ray", "--out", "ray"]
    command += ["--precision", "32-true"]
    home = place / "home"  # Ray keeps a token there
    home.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert answer.returncode == 1, answer.stderr
    one, other = (
        {line["source"]: line for line in map(json.loads, path.read_text().splitlines())}
        for path in (Path("out/index.jsonl"), Path("ray/index.jsonl"))
    )
    assert one == other
    for path in Path("out").glob("*.png"):
        assert path.read_bytes() == Path("ray", path.name).read_bytes()
    assert Path("ray/clip.mp4").stat().st_size > 0


def test_without_ray_it_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("a.png", "--ray") == 2
    assert "pip install -r requirements-ray.txt" in capsys.readouterr().err
    assert isinstance(Segmenter.load("models/segmenter").tree, ClassTree)
