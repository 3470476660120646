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
    ".avi": "avi",
    ".ts": "mpegts",
}
"""Suffix -> container. If FFmpeg guessed, it would follow playlists to other files and URLs."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video, upright."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB; sides up to WORK_SIDE."""
    seconds: float
    """Presentation time."""


def decode_video(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The frames of the first video stream. Raises DecodeError if the file cannot be read."""
    av = require_av()
    check_regular(path)
    try:
        with av.open(str(path), format=DEMUXERS[path.suffix.lower()]) as container:
            if not container.streams.video:
                raise DecodeError("contains no video")
            stream = container.streams.video[0]
            pixels = stream.width * stream.height
            if pixels > max_pixels:
                raise DecodeError(f"frames of {too_large(max_pixels)}")
            stream.thread_type = "AUTO"
            shown = float("-inf")
            for number, frame in enumerate(container.decode(stream)):
                seconds = number / 25 if frame.time is None else frame.time
                if seconds > shown:  # damaged timestamps may stand still or run backwards
                    shown = seconds
                    yield Frame(_upright(frame), seconds)
            if shown == float("-inf"):
                raise DecodeError("contains no frame")
    except DecodeError:
        raise
    except Exception as error:  # FFmpeg's errors, and Python's for files that are no container
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"damaged or unsupported: {reason}") from error


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
