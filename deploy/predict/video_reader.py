"""Videos of any origin, frame by frame, with the same limits as images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from final_model_stage.image_reader import (
    MAX_PIXELS,
    WORK_SIDE,
    DecodeError,
    check_regular,
    too_large,
)

DEMUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".3gp"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".mpg", ".mpeg"), "mpeg"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
    ".avi": "avi",
    ".flv": "flv",
    ".wmv": "asf",
}
"""Suffix -> container. If FFmpeg guessed, it would follow playlists to other files and URLs."""

_MAGIC = (
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (4, b"ftyp", "mov"),
    (8, b"AVI ", "avi"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"FLV", "flv"),
    (0, b"\x30\x26\xb2\x75", "asf"),
)
"""Place, bytes -> container, whatever the file is called."""

MAX_GAP = 60.0
"""Seconds between two frames; a larger jump is a clock that was set anew."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video, upright."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB; sides up to WORK_SIDE."""
    seconds: float
    """From the first frame on, always increasing."""


class Clock:
    """Times that begin at zero and only go forward, whatever the file's own do.

    Recorders start at any time, joined files start anew, damaged timestamps stand still or run
    backwards: such a frame follows the one before after the usual step, so none is lost.
    """

    def __init__(self, step: float) -> None:
        """step: seconds between two frames, as the file's rate has it."""
        self.step = step
        self._now = -step
        self._last: float | None = None

    def tick(self, time: float | None) -> float:
        """Seconds of a frame whose own time is `time`."""
        passed = None if time is None or self._last is None else time - self._last
        self._last = time
        usual = passed is not None and 0 < passed <= MAX_GAP
        self._now += passed if usual and passed is not None else self.step
        return self._now


def decode_video(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The frames of the first video stream. Raises DecodeError if the file cannot be read."""
    av = require_av()
    check_regular(path)
    try:
        with av.open(str(path), format=_container(path)) as container:
            if not container.streams.video:
                raise DecodeError("contains no video")
            stream = container.streams.video[0]
            pixels = stream.width * stream.height
            if pixels > max_pixels:
                raise DecodeError(f"frames of {too_large(max_pixels)}")
            stream.thread_type = "AUTO"
            clock, is_empty = Clock(float(1 / (stream.average_rate or 25))), True
            for frame in container.decode(stream):
                is_empty = False
                yield Frame(_upright(frame), clock.tick(frame.time))
            if is_empty:
                raise DecodeError("contains no frame")
    except DecodeError:
        raise
    except Exception as error:  # FFmpeg's errors, and Python's for files that are no container
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"damaged or unsupported: {reason}") from error


def _container(path: Path) -> str:
    """By content, else by suffix."""
    with path.open("rb") as file:
        head = file.read(16)
    for place, magic, container in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return container
    return DEMUXERS[path.suffix.lower()]


def require_av() -> ModuleType:
    """PyAV. Raises DecodeError that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise DecodeError("videos need PyAV: pip install '.[video]'") from error
    return av


def _upright(frame) -> np.ndarray:  # type: ignore[no-untyped-def]
    factor = max(1.0, max(frame.width, frame.height) / WORK_SIDE)
    size = {
        "width": max(1, round(frame.width / factor)),
        "height": max(1, round(frame.height / factor)),
    }
    image = frame.reformat(**size, format="rgb24").to_ndarray()
    result: np.ndarray = (
        np.rot90(image, round(frame.rotation / 90) % 4).copy() if frame.rotation else image
    )
    return result
