"""Runs that were interrupted, and what the next one makes of what they left."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import pytest
from PIL import Image
from predict_runs import index, outputs, run, write
from tiny_segmenter import tiny_segmenter

from deploy.predict import __main__ as predict
from preprocessing_stage.dataset.dataset_folder import read_labels


def stop_after(count: int, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """A run that is interrupted when the next source's files are written, but not its entry."""
    whole = predict.predict

    def interrupted(*given: object) -> Iterator[dict]:
        entries = whole(*given)  # type: ignore[arg-type]
        yield from islice(entries, count)
        next(entries)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(predict, "predict", interrupted)
        assert run(*words) == 130


def test_a_killed_run_is_resumed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line in the index, and a file whose line was not written."""
    for name in ("a.png", "b.png"):
        write(f"in/{name}")
    stop_after(1, monkeypatch, "in")
    with Path("out/index.jsonl").open("a") as file:
        file.write('{"source": "/so')
    before = Path("out/a.png").stat().st_mtime_ns
    Path("out/b.png").write_text("half of it")
    assert run("in", "--skip-existing") == 0
    assert sorted(index()) == ["a", "b"]
    assert Path("out/a.png").stat().st_mtime_ns == before
    assert read_labels("out/b.png").shape == (40, 60)


def test_an_interrupted_run_takes_neither_names_nor_files_from_anybody(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(["x/a.png", "x/b.png", "y/a.png"]):
        write(name, seed)
    assert run("x") == 0
    stop_after(0, monkeypatch, "x", "--overlay")
    assert run("y", "x/b.png") == 0
    assert sorted(index()) == ["a", "a_2", "b"]
    assert index()["a"]["source"] == str(place / "x/a.png")
    assert run("x", "--overlay", "--skip-existing") == 0
    assert not any("error" in line for line in index().values())


def test_what_an_interrupted_run_made_by_another_segmenter_is_done_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.png")
    assert run("a.png") == 0
    before = Path("out/a.png").read_bytes()
    tiny_segmenter().save("models/other")
    tiny_segmenter("product").save("models/segmenter")
    stop_after(0, monkeypatch, "a.png")
    assert Path("out/a.png").read_bytes() != before
    assert run("a.png", "--skip-existing", "--segmenter", "models/other") == 0
    assert Path("out/a.png").read_bytes() == before


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
