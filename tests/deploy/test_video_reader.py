"""Frames of videos: their times, upright, bounded, and errors that help."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_files import damage_packets, photograph, sound, turned_video, video
from predict_runs import decoded

from final_model_stage.image_reader import DecodeError


def test_a_video_gives_its_frames_and_their_times(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    frames = decoded(tmp_path / "a.mp4")
    assert [round(frame.seconds, 3) for frame in frames] == [round(k / 10, 3) for k in range(12)]
    for seed, frame in enumerate(frames):
        expected = np.asarray(photograph((48, 64), seed))
        assert np.abs(frame.image.astype(int) - expected).mean() < 12


def test_a_turned_video_comes_upright(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", count=1)
    turned_video(tmp_path / "b.mp4")
    [plain] = decoded(tmp_path / "a.mp4")
    upright = decoded(tmp_path / "b.mp4")[0]
    assert upright.image.shape == (64, 48, 3)
    turned = np.rot90(plain.image, -1).astype(int)
    assert np.abs(upright.image - turned).max() < 40


def test_large_frames_are_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.predict.video_reader.WORK_SIDE", 32)
    video(tmp_path / "a.mp4", count=1)
    [frame] = decoded(tmp_path / "a.mp4")
    assert frame.image.shape == (24, 32, 3)
    with pytest.raises(DecodeError, match="more than 3,071 pixels"):
        decoded(tmp_path / "a.mp4", max_pixels=3071)


def test_damaged_videos_say_so(tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n")
    video(tmp_path / "clip.mp4")
    sound(tmp_path / "sound.mp4")
    (tmp_path / "half.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:2000])
    video(tmp_path / "zeros.mov", codec="png")
    damage_packets(tmp_path / "zeros.mov", range(12))
    for name, reason in [
        ("zeros.mov", "is damaged: no frame decodes"),
        ("list.mp4", "Invalid data"),  # FFmpeg left to guess would play clip.mp4
        ("half.mp4", "Invalid data"),
        ("sound.mp4", "contains no video"),
        ("missing.mp4", "No such file"),
    ]:
        with pytest.raises(DecodeError, match=reason):
            decoded(tmp_path / name)


def test_without_pyav_videos_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DecodeError, match=r"pip install '\.\[video\]'"):
        decoded(tmp_path / "a.mp4")
