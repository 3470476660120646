"""The sound of a video: what of it is written, and when it is heard."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest
from drawn_sound import RATE, click, has_sound, with_sound
from predict_runs import index, run

from deploy.predict.video_reader import MAX_GAP


@pytest.mark.parametrize(
    ("name", "codec", "start", "header"),
    [
        ("clip.mp4", "aac", 0.5, 0),
        ("clip.ts", "aac", 7.0, 7),  # bytes that MP4 has at the beginning of the file instead
        ("clip.avi", "pcm_s16le", 0.0, 0),
    ],
)
def test_the_sound_is_the_source_s_at_its_time(
    name: str, codec: str, start: float, header: int, place: Path
) -> None:
    with_sound(place / name, codec, start)
    assert run(name, "--cutout", "--mask", "body") == 0
    assert "notes" not in index()["clip"]
    for path in ("out/clip.mp4", "out/cutout/clip.mov"):
        assert click(Path(path)) == pytest.approx(0.5, abs=0.002)
        with av.open(str(place / name)) as source, av.open(path) as result:
            theirs = [bytes(packet)[header:] for packet in source.demux(audio=0) if packet.size]
            ours = [bytes(packet) for packet in result.demux(audio=0) if packet.size]
        assert len(ours) > 30 and b"".join(ours) in b"".join(theirs)
    assert not has_sound("out/mask_body/clip.mp4")


def test_sound_that_a_container_does_not_take_is_noted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sound(place / "a.mkv", "libopus", rate=48_000)
    with_sound(place / "b.avi", "pcm_u8")
    assert run("a.mkv", "b.avi", "--cutout") == 0
    assert index()["a"]["notes"] == ["a.mov is without sound: mov takes no opus"]
    assert index()["b"]["notes"] == ["b.mp4 is without sound: mp4 takes no pcm_u8"]
    assert "a.mov is without sound" in capsys.readouterr().err
    assert [has_sound(f"out/{name}") for name in ("a.mp4", "cutout/b.mov")] == [True, True]
    assert [has_sound(f"out/{name}") for name in ("cutout/a.mov", "b.mp4")] == [False, False]


def test_where_the_times_jump_the_sound_ends(place: Path) -> None:
    for name, start in (("a.ts", 700.0), ("b.ts", 5.0)):
        with_sound(place / name, start=start)
    (place / "both.ts").write_bytes((place / "a.ts").read_bytes() + (place / "b.ts").read_bytes())
    assert run("both.ts") == 0
    assert index()["both"]["frames"] == 24
    [note] = index()["both"]["notes"]
    assert re.fullmatch(r"the times of the frames jump at 1\.\d s; sound ends there", note)
    with av.open("out/both.mp4") as container:
        last = max(
            packet.pts * packet.time_base for packet in container.demux(audio=0) if packet.size
        )
    assert 0.9 < last < 1.4


def test_sound_within_a_gap_is_left_out(place: Path) -> None:
    with_sound(place / "clip.mp4", times=[0, 0.1, 0.2, 0.3, MAX_GAP + 5, MAX_GAP + 5.1])
    assert run("clip.mp4", "--cutout") == 0
    [note] = index()["clip"]["notes"]
    jump = float(re.findall(r"jump at (\d+\.\d) s; sound ends there", note)[0])
    assert jump < MAX_GAP
    for name in ("out/clip.mp4", "out/cutout/clip.mov"):
        with av.open(name) as container:
            packets = [packet for packet in container.demux(audio=0) if packet.size]
        assert jump - 0.2 < packets[-1].pts * packets[-1].time_base < jump + 0.1


def test_sound_that_overlaps_in_joined_recordings_does_not_stop_the_video(place: Path) -> None:
    for name, start in (("a.ts", 700.0), ("b.ts", 701.15)):
        with_sound(place / name, start=start)
    (place / "both.ts").write_bytes((place / "a.ts").read_bytes() + (place / "b.ts").read_bytes())
    assert run("both.ts") == 0
    assert index()["both"]["frames"] == 24 and "notes" not in index()["both"]
    with av.open("out/both.mp4") as container:
        times = [packet.pts for packet in container.demux(audio=0) if packet.size]
    assert times == sorted(set(times)) and times[-1] / RATE > 2.1
