"""The command line: resumed runs, all kinds of input, threads and memory, and Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from drawn_files import video
from input_kinds import KINDS, PNG, ROOT, make_all, run_predict, table, written_table
from PIL import Image
from predict_runs import index, outputs, run, write
from tiny_segmenter import TREE, tiny_segmenter

from deploy.predict import images as predict_images
from deploy.predict.images import BATCH
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, Wanted
from final_model_stage.image_reader import DecodedImage
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import read_labels

# --- names, and resumed runs -----------------------------------------------------------------


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


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(place: Path) -> None:
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


def test_a_name_that_fills_the_file_system_s_255_bytes(place: Path) -> None:
    write(f"{'n' * 251}.png", 1)
    write(f"{'n' * 250}.png", 2)
    assert run("*.png") == 0
    assert sorted(index()) == ["n" * 200, "n" * 200 + "_2"]


def test_a_pattern_leaves_out_what_a_run_wrote(place: Path) -> None:
    write("in/a.png")
    for _ in range(2):
        assert run("**/*.png") == 0
        assert outputs() == {"a.png", "index.jsonl"}


def test_a_file_that_is_no_index_is_left_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    Path("out").mkdir()
    Path("out/index.jsonl").write_text("[1, 2]\n")
    assert run("a.png") == 2
    assert "out/index.jsonl: '[1, 2]" in capsys.readouterr().err
    assert Path("out/index.jsonl").read_text() == "[1, 2]\n"
    Path("out/index.jsonl").write_text("[1, 2]")  # no line of it is whole
    assert run("a.png") == 2
    assert "out/index.jsonl: has no whole line" in capsys.readouterr().err
    assert Path("out/index.jsonl").read_text() == "[1, 2]"


# --- all kinds -------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_kind_of_input_does_what_the_docs_say(place: Path) -> None:
    make_all(place / "in")
    code, entries = run_predict(place / "in", place / "out")
    assert code == 1
    assert len(entries) == len(KINDS)
    assert table(entries) == written_table(), "renew it: python tests/fixtures/input_kinds.py"


# --- threads and memory ----------------------------------------------------------------------


class Chain:
    """Stands for a segmenter; keeps the sizes of its batches."""

    tree = TREE

    def __init__(self) -> None:
        self.batches: list[int] = []

    def label_maps(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(images))
        return [np.zeros(image.shape[:2], np.uint8) for image in images]


def jobs(count: int) -> list[Job]:
    return [Job(Path(f"/in/{i}.png"), str(i)) for i in range(count)]


def test_memory_does_not_grow_with_the_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[DecodedImage] = weakref.WeakSet()
    most, lock = 0, threading.Lock()

    class Tracked(DecodedImage):
        __hash__ = object.__hash__

    def decode(*_: object) -> DecodedImage:
        nonlocal most
        image = Tracked(np.zeros((4, 4, 3), np.uint8), (4, 4))
        with lock:
            alive.add(image)
            most = max(most, len(alive))
        return image

    monkeypatch.setattr(predict_images, "decode_image", decode)
    chain = Chain()
    files = PredictionFiles(tmp_path, TREE, Wanted())
    entries = list(predict_images.predict_images(jobs(300), chain, files))
    assert [entry["name"] for entry in entries] == [str(i) for i in range(300)]
    assert chain.batches == [BATCH] * (300 // BATCH) + [300 % BATCH]
    assert most <= 3 * BATCH


def test_reading_goes_on_while_the_network_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's first batch waits until an image of the second is read."""
    second = threading.Event()

    def decode(path: Path, *_: object) -> DecodedImage:
        if int(path.stem) == BATCH + 1:
            second.set()
        return DecodedImage(np.zeros((4, 4, 3), np.uint8), (4, 4))

    class Waiting(Chain):
        def label_maps(self, images: list[np.ndarray]) -> list[np.ndarray]:
            assert second.wait(30)
            return super().label_maps(images)

    monkeypatch.setattr(predict_images, "decode_image", decode)
    files = PredictionFiles(tmp_path, TREE, Wanted())
    assert len(list(predict_images.predict_images(jobs(40), Waiting(), files))) == 40


def test_every_job_has_its_own_limit(place: Path) -> None:
    path = write("a.png")
    small, large = (predict_images.read(Job(path, "a", limit)).image for limit in (2399, 2400))
    assert "more than 2,399 pixels" in str(small)
    assert isinstance(large, DecodedImage)
    assert run("a.png", "--max-pixels", "2399") == 1
    assert "more than 2,399 pixels" in index()["a"]["error"]


def test_any_tree_will_do(tmp_path: Path) -> None:
    tree = ClassTree({"scene": {"none": 0, "thing": {"tail": 200, "rest": {"a": 17, "b": 3}}}})
    files = PredictionFiles(tmp_path, tree, Wanted(levels=(1,)))
    labels = np.array([[0, 200], [17, 3]], np.uint8)
    areas = files.write("x", DecodedImage(np.zeros((2, 2, 3), np.uint8), (4, 4)), labels, None)
    assert areas == {"none": 4, "thing": 12, "tail": 4, "rest": 8, "a": 4, "b": 4}
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png")[::2, ::2], labels)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "level_1/x.png")[::2, ::2], [[0, 1], [2, 2]]
    )


# --- Ray -------------------------------------------------------------------------------------


def test_a_refused_run_forgets_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.png")
    assert run("a.png") == 0
    before = Path("out/index.jsonl").read_text()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("a.png", "--ray") == 2
    assert Path("out/index.jsonl").read_text() == before


@pytest.mark.slow
def test_ray_gives_the_same(place: Path) -> None:
    for seed in range(BATCH - 4):
        write(f"in/{seed}.png", seed, (20 + seed, 40))
    video(place / "in/clip.mp4", count=3)
    Path("in/bad.jpg").write_bytes(b"")
    assert run("in") == 1
    command = [sys.executable, "-m", "deploy.predict", "in", "--ray", "--out", "ray"]
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
    assert "pip install '.[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--keep-folders"]])
def test_subfolders_of_a_source_are_kept_where_stems_clash(place: Path, words: list[str]) -> None:
    for seed, name in enumerate(["shots/day1/a.png", "shots/day2/a.png", "shots/overlay/b.png"]):
        write(name, seed)
    assert run("shots", *words, "--overlay") == 0
    assert sorted(index()) == ["day1/a", "day2/a", "overlay_/b"]
    for name in index():
        assert (Path("out") / f"{name}.png").is_file()
        assert (Path("out/overlay") / f"{name}.jpg").is_file()
    assert run("shots", *words, "--overlay", "--skip-existing") == 0


def test_subfolders_are_kept_on_demand(place: Path) -> None:
    write("shots/day1/a.png", 1)
    assert run("shots", "--keep-folders") == 0
    assert sorted(index()) == ["day1/a"]
    assert run("shots") == 0  # the name it has stays
    assert sorted(index()) == ["day1/a"]
