"""Nothing of the user's is lost, and nothing is left out in silence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawn_files import video
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from input_kinds import ROOT
from predict_runs import give_list, index, outputs, run, write
from tiny_segmenter import tiny_segmenter

from deploy.predict import __main__ as predict

OPTIONS = ("--overlay", "--uncertainty", "--cutout", "--mask=body", "--frames")
SOURCES = ("a.png", "a.jpg", "a.mp4", "in/a.png", "in/b.mp4")
THEIRS = (
    *(
        "a.png",
        "a.png.part",
        "a.mp4",
        "a_2.png",
        "b.png",
        "b.mp4",
        "overlay/a.jpg",
        "uncertainty/b.png",
    ),
    *("cutout/a.png", "cutout/a.mov", "mask_body/a.png", "mask_body/b.mp4"),
    *("frames/a/000001.png", "frames/a/000077.png", "frames/a/notes.txt", "frames/b/000002.png"),
)


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sources=st.sets(st.sampled_from(SOURCES), min_size=1),
    theirs=st.sets(st.sampled_from(THEIRS), max_size=3),
    options=st.sets(st.sampled_from(OPTIONS)),
    out=st.sampled_from([".", "out", "in"]),
)
@example(sources={"a.mp4"}, theirs={"frames/a/000002.png"}, options={"--frames"}, out="out")
@example(sources={"a.mp4"}, theirs={"frames/a/000077.png"}, options={"--frames"}, out=".")
@example(sources={"a.jpg"}, theirs={"a.png.part"}, options=set(), out=".")
@example(sources={"a.mp4"}, theirs={"frames/a/notes.txt"}, options={"--frames"}, out=".")
def test_no_file_of_the_user_ever_changes(
    place: Path, sources: set[str], theirs: set[str], options: set[str], out: str
) -> None:
    work = place / f"work_{time.monotonic_ns()}"
    work.mkdir()
    previous = Path.cwd()
    os.chdir(work)
    try:
        (work / "models").symlink_to(place / "models")
        for seed, source in enumerate(sorted(sources)):
            if source.endswith(".mp4"):
                Path(source).parent.mkdir(exist_ok=True)
                video(Path(source), (12, 16), count=2)
            else:
                write(source, seed, (12, 16))
        for name in theirs:
            path = Path(out, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_bytes(b"mine")
        before = contents()
        for _ in range(2):  # a second run may replace what the first one wrote, and no more
            words = [*sorted(sources), "--out", out, *sorted(options), "--precision", "32-true"]
            try:
                predict.main(words)
            except SystemExit as stop:
                assert stop.code == 2
            after = contents()
            assert {name: after.get(name) for name in before} == before
    finally:
        os.chdir(previous)


def test_all_files_in_the_way_are_named_and_nothing_runs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("in/photo.jpg")
    for name in ("out/photo.png", "out/overlay/photo.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")
    assert run("in", "--overlay") == 2
    error = capsys.readouterr().err
    assert "out/photo.png: exists" in error and "out/overlay/photo.jpg: exists" in error
    assert outputs() == {"photo.png", "overlay/photo.jpg"}


def test_files_of_an_earlier_run_with_other_options_are_ours(place: Path) -> None:
    write("in/a.png")
    for options in (["--overlay"], [], ["--overlay", "--uncertainty"]):
        assert run("in", *options) == 0
    assert index()["a"]["files"] == ["a.png", "overlay/a.jpg", "uncertainty/a.png"]


def test_files_of_another_segmenter_are_not_taken_for_this_ones(place: Path) -> None:
    write("in/a.png")
    assert run("in", "--overlay") == 0
    old = Path("out/overlay/a.jpg").read_bytes()
    tiny_segmenter("product").save("models/segmenter")
    assert run("in") == 0
    assert index()["a"]["stale"] == ["overlay/a.jpg"]
    assert run("in", "--skip-existing") == 0  # the overlay is not wanted
    assert Path("out/overlay/a.jpg").read_bytes() == old
    assert run("in", "--overlay", "--skip-existing") == 0
    assert Path("out/overlay/a.jpg").read_bytes() != old
    assert "stale" not in index()["a"]


def test_numbers_of_people_are_in_the_index_or_made_again(place: Path) -> None:
    write("in/a.png")
    for options in (["--instances"], [], ["--instances", "--skip-existing"]):
        assert run("in", *options) == 0
    assert "people" in index()["a"]


def test_a_folder_is_written_by_one_run_at_a_time(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    hold = (
        "import sys\nfrom pathlib import Path\n"
        "from preprocessing_stage.dataset.file_lock import file_lock\n"
        f"with file_lock(Path('out/{predict.LOCK}'), 'x'):\n    print('held', flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", hold]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        assert run("a.png") == 2
        assert f"process {other.pid} is still writing to out" in capsys.readouterr().err
        other.communicate(b"\n")
    assert run("a.png") == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "standard input: is empty"),
        (b"\n\n", "standard input: is empty"),
        (b"out/a.png\nout/b.png\n", "standard input: all 2 paths lie in out"),
    ],
)
def test_a_list_of_nothing_is_no_success(
    content: bytes,
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("out/a.png")
    give_list(monkeypatch, content)
    assert run("-") == 2
    assert message in capsys.readouterr().err


def test_a_pattern_of_results_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("a.png")
    run("a.png")
    assert run("out/*.png") == 2
    assert "out/*.png: matches only what lies in out" in capsys.readouterr().err


def test_files_that_lie_in_the_output_folder_are_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    write("out/b.png")
    give_list(monkeypatch, b"a.png\nout/b.png\n")
    assert run("-") == 0
    assert "left out, as they lie in --out: 1 files" in capsys.readouterr().out


def test_addresses_are_not_read(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("https://example.org/a.jpg", "rtsp://camera/1") == 2
    error = capsys.readouterr().err
    assert error.count("addresses are not read; download the file first") == 2


def test_links_to_folders_and_unreadable_ones_are_reported(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("in/a.png")
    write("elsewhere/b.png")
    Path("in/link").symlink_to(place / "elsewhere")
    Path("in/closed").mkdir()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert run("in") == 1
    captured = capsys.readouterr()
    assert "links to 1 folders were not followed: in/link" in captured.out
    assert "in/closed: Permission denied" in captured.err
    assert sorted(index()) == ["a"]


def test_lists_with_a_mark_with_nul_and_with_names_of_any_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    for name in ("a b.png", odd):
        write(name)
    give_list(monkeypatch, b"\xef\xbb\xbfa b.png\r\n\r\ncaf\xe9.png\n")
    assert run("-") == 0
    give_list(monkeypatch, b"a b.png\0caf\xe9.png\0")
    assert run("-", "--skip-existing") == 0
    assert sorted(index()) == sorted(["a b", odd.removesuffix(".png")])


def test_names_of_any_bytes_are_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(b"caf\xe9")
    write("in/a.png")
    Path(f"in/x.{odd}").touch()
    Path(odd).mkdir()
    Path(f"in/{odd}").symlink_to(place / odd)
    predict.main(["in", "--out", f"{odd}/out"])
    said = capsys.readouterr().out
    assert "caf\\udce9/out: 1 done" in said and "were not followed: in/caf\\udce9" in said
    assert "1 .caf\\udce9" in said


def test_a_name_that_no_file_system_takes_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")
    with pytest.raises(SystemExit) as refused:
        predict.main(["a.png", "--out", "n" * 300])
    assert refused.value.code == 2
    assert "File name too long: 'nnn" in capsys.readouterr().err


def test_what_changed_since_is_done_again(place: Path) -> None:
    write("in/a.png", 0)
    write("in/b.png", 1)
    assert run("in") == 0
    before = {name: Path("out", name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    write("in/a.png", 2)
    assert run("in", "--skip-existing") == 0
    after = {name: Path("out", name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    assert after["a.png"] > before["a.png"] and after["b.png"] == before["b.png"]
    other = tiny_segmenter("product")
    other.save("models/segmenter")
    assert run("in", "--skip-existing") == 0
    assert Path("out/b.png").stat().st_mtime_ns > before["b.png"]


def test_ctrl_c_is_neither_success_nor_a_trace(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("a.png")

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "predict", interrupted)
    assert run("a.png") == 130
    assert capsys.readouterr().err.endswith("interrupted; resume with --skip-existing\n")
    assert not list(Path("out").glob(".*lock"))


def test_an_empty_folder_of_the_user_stays_where_nothing_is_tried(place: Path) -> None:
    Path("out").mkdir()
    assert run("nothing.png") == 2
    assert Path("out").is_dir() and outputs() == set()
    Path("out").rmdir()
    assert run("nothing.png") == 2
    assert not Path("out").exists()
