"""Every decodable frame once, on a clock of our own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from drawn_files import damage_packets, photograph, video
from predict_runs import decoded, index, run

from deploy.predict import video_writer
from deploy.predict.video_reader import MAX_GAP, Clock


def timed_video(path: Path, times: list[float]) -> None:
    """Frames at these seconds, in the container of the path's suffix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for seed, seconds in enumerate(times):
            frame = av.VideoFrame.from_image(photograph((48, 64), seed))
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0, 0.1, 0.3], [0, 0.1, 0.3]),
        ([36_000, 36_000.1, 36_000.4], [0, 0.1, 0.4]),
        ([-5, -4.9, -4.8], [0, 0.1, 0.2]),
        ([7, 7.1, 0, 0.1], [0, 0.1, 0.2, 0.3]),
        ([0, 0.1, 30_000, 30_000.1], [0, 0.1, 0.2, 0.3]),
        ([0, 0.5, 0.5, 0.4], [0, 0.5, 0.6, 0.7]),
        ([0, MAX_GAP], [0, MAX_GAP]),
        ([None, None, 3, 3.1], [0, 0.1, 0.2, 0.3]),
    ],
)
def test_times_begin_at_zero_and_go_forward(
    times: list[float | None], expected: list[float]
) -> None:
    clock = Clock(0.1)
    assert [clock.tick(time) for time in times] == pytest.approx(expected)


def test_joined_recordings_keep_all_their_frames(place: Path) -> None:
    timed_video(place / "a.ts", [36_000 + k / 10 for k in range(6)])
    timed_video(place / "b.ts", [k / 10 for k in range(6)])
    (place / "both.ts").write_bytes((place / "a.ts").read_bytes() + (place / "b.ts").read_bytes())
    seconds = [frame.seconds for frame in decoded(place / "both.ts")]
    assert len(seconds) == 12 and seconds[0] == 0 and seconds == sorted(set(seconds))
    assert seconds[-1] < 3
    assert run("both.ts") == 0
    with av.open("out/both.mp4") as container:
        assert len(list(container.decode(video=0))) == 12


@pytest.mark.parametrize(("name", "codec"), [("clip.mov", "png"), ("clip.avi", "libx264")])
def test_damaged_packets_cost_their_frames_and_leave_a_gap(
    name: str, codec: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video(place / name, count=50, codec=codec)
    damage_packets(place / name, range(5, 7))
    assert run(name) == 0
    assert index()["clip"]["frames"] == 48
    assert index()["clip"]["notes"] == ["damaged: frames of 2 packets are left out"]
    assert f"{name}: damaged: frames of 2 packets" in capsys.readouterr().err
    seconds = [frame.seconds for frame in decoded(place / name)]
    assert seconds[-1] == pytest.approx(4.9) and seconds == sorted(set(seconds))


def test_an_encoder_s_error_is_that_video_s(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "b.mp4"):
        video(place / name, count=2)
    prepare = video_writer._even
    calls = []

    def fail_once(image: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise av.error.ArgumentError(22, "Invalid argument")
        return prepare(image)  # type: ignore[arg-type]

    monkeypatch.setattr(video_writer, "_even", fail_once)
    assert run("a.mp4", "b.mp4") == 1
    assert "a.mp4: its result could not be written: Invalid argument" in capsys.readouterr().err
    assert "error" in index()["a"] and index()["b"]["frames"] == 2
    assert not Path("out/a.mp4").exists()
