"""What is written of a video: films, their colours, label maps of the frames."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from unittest import mock

import av
import numpy as np
import pytest
from drawn_files import photograph, turned_video, video
from PIL import Image
from predict_runs import decoded, index, outputs, run, write
from tiny_segmenter import TREE, tiny_segmenter

from deploy.predict.output_files import alpha
from deploy.predict.video_reader import Frame
from deploy.predict.video_writer import VideoWriter
from final_model_stage.image_reader import DecodeError
from preprocessing_stage.dataset.dataset_folder import read_labels

LOSSLESS = "png"


def test_frames_are_label_maps_of_every_frame(place: Path) -> None:
    video(place / "clip.mov", (51, 67), codec=LOSSLESS, count=3)
    assert run("clip.mov", "--frames") == 0
    names = [f"frames/clip/00000{number}.png" for number in (1, 2, 3)]
    assert outputs() == {"clip.mp4", "index.jsonl", *names}
    assert index()["clip"]["files"] == ["clip.mp4", "frames/clip/%06d.png"]
    for seed, name in enumerate(names):
        labels = tiny_segmenter()(np.asarray(photograph((51, 67), seed)))
        np.testing.assert_array_equal(read_labels(f"out/{name}"), labels)
    with Image.open(f"out/{names[0]}") as picture:
        assert json.loads(picture.text["classes"])["4"] == "head"


def test_frames_are_done_again_if_one_is_gone_and_none_is_left_of_a_longer_video(
    place: Path,
) -> None:
    video(place / "clip.mp4", count=4)
    assert run("clip.mp4", "--frames") == 0
    Path("out/frames/clip/000003.png").unlink()
    assert run("clip.mp4", "--frames", "--skip-existing") == 0
    assert Path("out/frames/clip/000003.png").is_file()
    video(place / "clip.mp4", count=2)
    Path("out/frames/clip/notes.txt").write_text("mine")
    assert run("clip.mp4", "--frames", "--skip-existing") == 0
    assert {path.name for path in Path("out/frames/clip").iterdir()} == {
        *("000001.png", "000002.png", "notes.txt")
    }


def test_a_frame_in_the_way_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(place / "clip.mp4", count=2)
    write("out/frames/clip/000009.png")
    assert run("clip.mp4", "--frames") == 2
    assert "out/frames/clip/000009.png: exists" in capsys.readouterr().err


def test_a_video_that_fails_leaves_no_frames(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video(place / "clip.mp4", count=4)

    def fail(_: object, image: np.ndarray, frame: Frame) -> None:
        if frame.seconds > 0.25:
            assert Path("out/frames/clip/000003.png").is_file()
            raise av.error.ArgumentError(22, "Invalid argument")

    with monkeypatch.context() as patched:
        patched.setattr(VideoWriter, "write", fail)
        assert run("clip.mp4", "--frames") == 1
    assert "could not be written" in index()["clip"]["error"]
    assert outputs() == {"index.jsonl"}
    assert run("clip.mp4", "--frames") == 0


def test_frames_stay_where_the_next_run_does_not_begin(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video(place / "clip.mp4", count=4)
    assert run("clip.mp4", "--frames") == 0
    before = outputs()
    with monkeypatch.context() as patched:
        patched.setattr(
            "deploy.predict.video_reader.check_regular", mock.Mock(side_effect=DecodeError("gone"))
        )
        assert run("clip.mp4", "--frames") == 1
    assert outputs() == before


@pytest.mark.parametrize("option", ["--tiles", "--any-turn"])
def test_options_for_images_do_not_do_a_video_again(place: Path, option: str) -> None:
    video(place / "clip.mp4", count=4)
    assert run("clip.mp4") == 0
    before = Path("out/clip.mp4").stat().st_mtime_ns
    assert run("clip.mp4", option, "--skip-existing") == 0
    assert Path("out/clip.mp4").stat().st_mtime_ns == before


def test_the_cutout_of_a_video_has_a_soft_edge(place: Path) -> None:
    video(place / "clip.mov", (52, 68), codec=LOSSLESS, count=20)
    assert run("clip.mov", "--cutout") == 0
    with av.open("out/cutout/clip.mov") as container:
        frames = [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]
    assert len(frames) == 20  # one in four would show a race of FFmpeg's threads
    for seed, found in enumerate(frames):
        image = np.asarray(photograph((52, 68), seed))
        opacity = alpha(tiny_segmenter().segment(image))
        assert np.mean((opacity > 9) & (opacity < 246)) > 0.05
        assert np.abs(found[..., 3].astype(int) - opacity).max() <= 2
        assert np.abs(found[..., :3].astype(int) - image).mean() < 4


def test_the_mask_of_a_video_is_black_and_white(place: Path) -> None:
    video(place / "clip.mov", (52, 68), codec=LOSSLESS, count=1)
    assert run("clip.mov", "--mask", "body", "--mask", "leg") == 0
    labels = tiny_segmenter()(np.asarray(photograph((52, 68), 0)))
    for name in ("body", "leg"):
        [frame] = decoded(Path(f"out/mask_{name}/clip.mp4"))
        inside = np.isin(labels, TREE.ids(name)) * 255
        assert np.abs(frame.image.mean(2) - inside).mean() < 12


def test_pixels_that_are_not_square_become_so(place: Path) -> None:
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_image(photograph((48, 64)))))
        container.mux(stream.encode(None))
    assert run("clip.mp4", "--frames") == 0
    assert (index()["clip"]["width"], index()["clip"]["height"]) == (85, 48)
    assert read_labels("out/frames/clip/000001.png").shape == (48, 85)
    with av.open("out/clip.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (86, 48)
        assert stream.sample_aspect_ratio in (None, 1)


def test_a_turned_video_gives_upright_files(place: Path) -> None:
    turned_video(place / "clip.mp4")
    assert run("clip.mp4", "--frames", "--cutout") == 0
    assert read_labels("out/frames/clip/000001.png").shape == (64, 48)
    for path in ("out/clip.mp4", "out/cutout/clip.mov"):
        with av.open(path) as container:
            frame = next(container.decode(video=0))
            assert (frame.width, frame.height, frame.rotation) == (48, 64, 0)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("tags", "height", "matrix"),
    [
        ((1, 1, 1), 48, 1),
        ((6, 6, 6), 48, 6),
        ((9, 9, 18), 48, 9),  # HLG of telephones
        ((2, 2, 2), 48, 6),
        ((2, 2, 2), 720, 1),
    ],
)
def test_colours_mean_the_same_as_in_the_source(
    tags: tuple[int, int, int], height: int, matrix: int, full_range: bool, place: Path
) -> None:
    colour = np.full((height, 64, 3), (200, 40, 60), np.uint8)
    with av.open("clip.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags
        context.color_range = 2 if full_range else 1
        frame = av.VideoFrame.from_ndarray(colour, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range=context.color_range
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [source] = decoded(Path("clip.mp4"))
    assert np.abs(source.image.astype(int) - colour).max() <= 4
    assert run("clip.mp4", "--cutout") == 0
    for path in ("out/clip.mp4", "out/cutout/clip.mov"):
        with av.open(path) as container:
            frame = next(container.decode(video=0))
            found = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
        assert found == (matrix, *tags[1:], 1)
    [cut] = decoded(Path("out/cutout/clip.mov"))
    assert np.abs(cut.image.astype(int) - colour).max() <= 6


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("a.mts", "mpegts", "libx264"),
        ("a.m2ts", "mpegts", "libx264"),
        ("a.wmv", "asf", "wmv2"),
        ("a.flv", "flv", "flv"),
        ("a.webm", "webm", "libvpx-vp9"),
        ("a.mpg", "mpeg", "mpeg2video"),
        ("a.mov", "mov", "prores_ks"),
    ],
)
@pytest.mark.parametrize("called", [None, "b.mp4", "b.avi", "b"])
def test_the_content_tells_the_container(
    name: str, container: str, codec: str, called: str | None, place: Path
) -> None:
    options = {"mpegts_m2ts_mode": "1"} if name == "a.m2ts" else {}
    video(place / (called or name), count=3, codec=codec, container=container, **options)
    assert run(called or name) == 0
    assert index()[Path(called or name).stem]["frames"] == 3
