"""Video files: frames encoded, the sound of the source taken over as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from deploy.predict.video_reader import Colour, Frame, Video, require_av
from preprocessing_stage.dataset.atomic_write import atomic_write

_CLOCK = Fraction(1, 90_000)
"""Seconds; fine enough for the frame times of any camera."""
_LIMITED = 1
"""The range of YUV values that every player expects: black is 16, white 235."""


@dataclass(frozen=True)
class Encoding:
    """A container, a codec and its options, by FFmpeg's names."""

    container: str
    codec: str
    pixels: str
    options: Mapping[str, str]


H264 = Encoding("mp4", "libx264", "yuv420p", {"crf": "20", "preset": "veryfast"})
PRORES_4444 = Encoding("mov", "prores_ks", "yuva444p10le", {"profile": "4444"})
"""With alpha, read by video editors. Browsers' VP9 in WebM would not hold the AAC of telephones."""


class VideoWriter:
    """One video file. The first image fixes its size; later ones of another size are scaled."""

    def __init__(self, container: Any, encoding: Encoding, colour: Colour, sound: Any) -> None:
        """container: PyAV's. sound: PyAV's stream in the source; None = no sound."""
        self._container, self._colour = container, colour
        self._pixels, self._begun = encoding.pixels, False
        self._stream = container.add_stream(encoding.codec, options=dict(encoding.options))
        self._stream.pix_fmt = encoding.pixels
        context = self._stream.codec_context
        context.time_base, context.color_range = _CLOCK, _LIMITED
        context.colorspace = colour.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        self._sound = None if sound is None else container.add_stream_from_template(sound)

    def write(self, image: np.ndarray, frame: Frame) -> None:
        """image: (h, w, 3) uint8 RGB or, with alpha, (h, w, 4), shown at the time of `frame`."""
        av = require_av()
        even = _even(image)
        if not self._begun:
            self._stream.height, self._stream.width = even.shape[:2]
            self._begun = True
        raw = av.VideoFrame.from_ndarray(even, format="rgba" if even.shape[2] == 4 else "rgb24")
        converted = raw.reformat(
            width=self._stream.width,
            height=self._stream.height,
            format=self._pixels,
            dst_colorspace=self._colour.matrix,
            dst_color_range=_LIMITED,
            threads=1,  # with several, FFmpeg 8 now and then writes 8 wrong values of alpha
        )
        # ProRes takes the tags of each frame, H.264 those of the stream.
        converted.colorspace = self._colour.matrix
        converted.color_primaries = self._colour.primaries
        converted.color_trc = self._colour.transfer
        converted.pts, converted.time_base = round(frame.seconds / _CLOCK), _CLOCK
        self._container.mux(self._stream.encode(converted))
        if self._sound is not None:
            for packet in frame.sound:
                self._container.mux(self._copy(packet))

    def finish(self) -> None:
        self._container.mux(self._stream.encode(None))

    def _copy(self, packet: Any) -> Any:
        """Muxing changes a packet, and other files take it too."""
        copy = require_av().Packet(bytes(packet))
        copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
        copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, True, self._sound
        return copy


@contextmanager
def video_writer(
    path: Path, encoding: Encoding, video: Video, with_sound: bool
) -> Iterator[VideoWriter]:
    """A video that takes the place of `path` at the block's end, if nothing was raised in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(path, "wb") as file,
        require_av().open(file, "w", format=encoding.container) as container,
    ):
        sound = video.sound if with_sound else None
        writer = VideoWriter(container, encoding, video.colour, sound)
        yield writer
        writer.finish()


def takes_sound(encoding: Encoding, sound: Any) -> bool:
    """Whether the container takes the sound of a source as it is; MP4 knows no WMA, for example."""
    av = require_av()
    try:
        with av.open(BytesIO(), "w", format=encoding.container) as container:
            container.add_stream_from_template(sound)
            container.start_encoding()
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _even(image: np.ndarray) -> np.ndarray:
    """(h, w, c) with the last row or column repeated where h or w is odd: codecs need even ones."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
