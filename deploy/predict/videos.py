"""A video through a segmenter: the same video with its classes coloured and outlined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import repeat, takewhile
from pathlib import Path

import numpy as np

from deploy.predict.images import BATCH, Job
from deploy.predict.index import Entry
from deploy.predict.output_files import areas
from deploy.predict.video_reader import Frame, decode_video, require_av
from final_model_stage.image_reader import DecodeError
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.prefetch import batches, prefetch
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import palette

_CLOCK = Fraction(1, 90_000)
"""Seconds; fine enough for the frame times of any camera."""


def video_path(out: Path, name: str) -> Path:
    return out / f"{name}.mp4"


def predict_video(job: Job, segmenter: Segmenter, out: Path, max_pixels: int) -> Entry:
    """Write the overlaid video. Returns its line in the index; areas are means over frames."""
    entry: Entry = {"source": str(job.source), "name": job.name}
    try:
        return entry | _predict(job, segmenter, out, max_pixels)
    except DecodeError as error:
        return entry | {"error": str(error)}


def _predict(job: Job, segmenter: Segmenter, out: Path, max_pixels: int) -> Entry:
    av = require_av()
    table = palette(segmenter.tree)
    pixels: Counter[str] = Counter()
    frames, size, last = 0, (0, 0), 0.0
    with (
        atomic_write(video_path(out, job.name), "wb") as file,
        av.open(file, "w", format="mp4") as container,
        ThreadPoolExecutor(1) as reader,
    ):
        stream = container.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _CLOCK
        for batch in batches(_frames(reader, job.source, max_pixels), BATCH):
            labelled = segmenter.predict([frame.image for frame in batch])
            for frame, (labels, _) in zip(batch, labelled, strict=True):
                covered = _even(overlay(frame.image, labels, table))
                if not frames:
                    size = labels.shape
                    stream.height, stream.width = covered.shape[:2]
                picture = av.VideoFrame.from_ndarray(covered, format="rgb24")
                picture.pts, picture.time_base = round(frame.seconds / _CLOCK), _CLOCK
                container.mux(stream.encode(picture))
                pixels.update(areas(labels, segmenter.tree))
                frames, last = frames + 1, frame.seconds
        container.mux(stream.encode(None))
    return {
        "width": size[1],
        "height": size[0],
        "frames": frames,
        "seconds": round(last, 3),
        "areas": {name: round(total / frames) for name, total in pixels.items()},
    }


def _frames(reader: ThreadPoolExecutor, path: Path, max_pixels: int) -> Iterator[Frame]:
    """Frames, decoded ahead in the one thread of `reader`."""
    stream = decode_video(path, max_pixels)
    decoded = prefetch(reader, lambda _: next(stream, None), repeat(None), BATCH)
    return (frame for frame in takewhile(lambda frame: frame is not None, decoded) if frame)


def _even(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) with the last row and column doubled where h or w is odd: H.264 needs even ones."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
