"""Videos of any origin, frame by frame, with the same limits as images."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deploy.predict.video_container import DEMUXERS, container_by_content
from final_model_stage.image_reader import (
    MAX_PIXELS,
    WORK_SIDE,
    DecodeError,
    check_regular,
    too_large,
)

MAX_GAP = 60.0
"""Seconds between two frames; a larger jump is a clock that was set anew."""
MAX_DRIFT = 0.2
"""Seconds that our clock and the file's may part before the sound would be heard too late."""
PRIMING = 0.1
"""Seconds of sound before the first frame that are kept: decoders need them, players skip them."""
MAX_PIXEL_ASPECT = 4
"""A pixel that claims to be longer is damage, and taken as square."""

_BT709, _SMPTE170M = 1, 6
_MATRICES = (_BT709, 4, 5, _SMPTE170M, 7, 9)
"""Those that FFmpeg converts with, by their numbers in ITU-T H.273: BT.709 to BT.2020."""
_HD_LINES = 720


@dataclass(frozen=True)
class Colour:
    """What the colours of a video mean, by the numbers of ITU-T H.273; 2 is unspecified."""

    matrix: int
    """From RGB to YUV; where a file does not say it, what players take for its height."""
    primaries: int
    transfer: int


@dataclass(frozen=True)
class Frame:
    """A frame of a video, upright and with square pixels."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB; sides up to WORK_SIDE."""
    seconds: float
    """From the first frame on, always increasing."""
    size: tuple[int, int]
    """Height and width of the original, which `image` is equal to or a smaller copy of."""
    sound: list[Any] = field(default_factory=list)
    """Packets of the sound that is heard between this frame and the next. Their times begin at the
    first frame, too."""


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


class Video:
    """An open video."""

    def __init__(self, container: Any, max_pixels: int) -> None:
        """container: PyAV's. Raises DecodeError if it has no video, or too large a one."""
        self._container = container
        self._stream = container.streams.best("video")
        if self._stream is None:
            raise DecodeError("contains no video")
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        usual = 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT
        self._pixel_aspect = aspect if usual else Fraction(1)
        if self._stream.width * self._stream.height * self._pixel_aspect > max_pixels:
            raise DecodeError(f"frames of {too_large(max_pixels)}")
        self._stream.thread_type = "AUTO"
        # AVI has a constant rate and no times; FFmpeg's guesses mix up B-frames.
        self._is_timeless = container.format.name == "avi"
        self.colour = _colour(self._stream)
        self.sound = container.streams.best("audio")
        """PyAV's stream of the sound; None if there is none."""
        self._heard = -math.inf
        self.first_jump: float | None = None
        """Seconds at which the times in the file jump; from there on sound is left out."""
        self.damaged = 0
        """Packets so far that could not be decoded; their frames are left out."""

    def frames(self) -> Iterator[Frame]:
        """All frames that can be decoded, once. Raises DecodeError if there is none."""
        invalid = require_av().error.InvalidDataError
        clock = Clock(float(1 / (self._stream.average_rate or 25)))
        streams = [stream for stream in (self._stream, self.sound) if stream is not None]
        held, start = None, 0.0
        sound: deque[Any] = deque()
        with _decode_errors():
            for packet in self._container.demux(streams):
                if packet.stream is self.sound:
                    sound.append(packet)
                    continue
                try:
                    decoded = packet.decode()
                except invalid:
                    self.damaged, decoded = self.damaged + 1, []
                    if self._is_timeless:  # else all that follows would come before its sound
                        clock.tick(None)
                for frame in decoded:
                    time = None if self._is_timeless else frame.time
                    seconds = clock.tick(time)
                    if held is None:
                        start = time or 0.0
                    else:
                        if time is not None and abs(seconds - (time - start)) > MAX_DRIFT:
                            self.first_jump = self.first_jump or seconds
                        yield self._with_sound(held, sound, start, seconds)
                    held = self._upright(frame, seconds)
            if held is None:
                no_frame = "is damaged: no frame decodes" if self.damaged else "contains no frame"
                raise DecodeError(no_frame)
            yield self._with_sound(held, sound, start)

    def _with_sound(
        self, frame: Frame, packets: deque[Any], start: float, until: float = math.inf
    ) -> Frame:
        """The frame with those packets that are heard from then `until` the next one, in seconds
        from the first one on; they are taken out of `packets`, where later ones wait. None if the
        times have jumped.

        Decoders hold frames back, so sound that is heard long after a frame may come before it.
        """
        if self.first_jump is not None and frame.seconds >= self.first_jump:
            packets.clear()
        while packets:
            packet = packets[0]
            if packet.size and packet.pts is not None:
                pts = packet.pts - round(start / packet.time_base)
                if pts * packet.time_base >= until:
                    break
                # No container takes sound that runs backwards, as in joined recordings.
                if pts * packet.time_base >= -PRIMING and pts > self._heard:
                    packet.pts = packet.dts = self._heard = pts
                    frame.sound.append(packet)
            packets.popleft()
        return frame

    def _upright(self, frame: Any, seconds: float) -> Frame:
        width, height = max(1, round(frame.width * self._pixel_aspect)), frame.height
        factor = max(1.0, max(width, height) / WORK_SIDE)
        image = frame.reformat(
            width=max(1, round(width / factor)),
            height=max(1, round(height / factor)),
            format="rgb24",
            src_colorspace=None if frame.format.is_rgb else self.colour.matrix,
        ).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        size = (width, height) if turns % 2 else (height, width)
        return Frame(np.rot90(image, turns).copy() if turns else image, seconds, size)


@contextmanager
def open_video(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Video]:
    """The first video stream of a file, and its sound. Raises DecodeError if it cannot be read."""
    av = require_av()
    check_regular(path)
    with _decode_errors():
        container = av.open(str(path), format=_container(path))
    with container:
        yield Video(container, max_pixels)


@contextmanager
def _decode_errors() -> Iterator[None]:
    try:
        yield
    except DecodeError:
        raise
    except Exception as error:  # FFmpeg's errors, and Python's for files that are no container
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"damaged or unsupported: {reason}") from error


def _container(path: Path) -> str:
    """By content, else by suffix."""
    return container_by_content(path) or DEMUXERS[path.suffix.lower()]


def _colour(stream: Any) -> Colour:
    context = stream.codec_context
    by_height = _BT709 if stream.height >= _HD_LINES else _SMPTE170M
    matrix = context.colorspace if context.colorspace in _MATRICES else by_height
    return Colour(matrix, context.color_primaries, context.color_trc)


def require_av() -> ModuleType:
    """PyAV. Raises DecodeError that says how to install it."""
    try:
        import av
    except ImportError as error:
        raise DecodeError("videos need PyAV: pip install '.[video]'") from error
    return av
