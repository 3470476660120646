"""A video through a segmenter: the same frames with their classes coloured and outlined."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import repeat, takewhile

import numpy as np

from deploy.predict.images import BATCH
from deploy.predict.index import Entry
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, areas
from deploy.predict.video_reader import Frame, decode_video, require_av
from final_model_stage.image_reader import DecodeError
from final_model_stage.segmentation import Segmenter
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.prefetch import batches, prefetch
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import palette

_CLOCK = Fraction(1, 90_000)
"""Seconds; fine enough for the frame times of any camera."""


def predict_video(job: Job, segmenter: Segmenter, files: PredictionFiles) -> Entry:
    """Write the overlaid video. Returns its index entry; areas are means over the frames."""
    entry: Entry = {"source": str(job.source), "name": job.name}
    try:
        return entry | _predict(job, segmenter, files)
    except DecodeError as error:
        return entry | {"error": str(error)}
    except require_av().error.FFmpegError as error:
        if error.errno == errno.ENOSPC:  # of the whole run, not of this video
            raise OSError(error.errno, error.strerror, str(files.video_path(job.name))) from error
        return entry | {"error": f"its result could not be written: {error.strerror}"}


def _predict(job: Job, segmenter: Segmenter, files: PredictionFiles) -> Entry:
    av = require_av()
    table = palette(segmenter.tree)
    pixels: Counter[str] = Counter()
    frames, size, last = 0, (0, 0), 0.0
    files.video_path(job.name).parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(files.video_path(job.name), "wb") as file,
        av.open(file, "w", format="mp4") as container,
        ThreadPoolExecutor(1) as reader,
    ):
        stream = container.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _CLOCK
        for batch in batches(_frames(reader, job), BATCH):
            predicted = segmenter.label_maps([frame.image for frame in batch])
            for frame, labels in zip(batch, predicted, strict=True):
                covered = _even(overlay(frame.image, labels, table))
                if not frames:
                    size = labels.shape
                    stream.height, stream.width = covered.shape[:2]
                coloured = av.VideoFrame.from_ndarray(covered, format="rgb24")
                coloured.pts, coloured.time_base = round(frame.seconds / _CLOCK), _CLOCK
                container.mux(stream.encode(coloured))
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


def _frames(reader: ThreadPoolExecutor, job: Job) -> Iterator[Frame]:
    """Frames, prefetched in the one thread of `reader`."""
    stream = decode_video(job.source, job.max_pixels)
    decoded = prefetch(reader, lambda _: next(stream, None), repeat(None), BATCH)
    return (frame for frame in takewhile(lambda frame: frame is not None, decoded) if frame)


def _even(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) with the last row or column repeated where h or w is odd: H.264 needs even ones."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
