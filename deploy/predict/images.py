"""Images through a segmenter: reading, prediction and writing run at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from deploy.predict.index import Entry
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, Wanted
from deploy.predict.tiles import OBLONG, segment_tiles
from deploy.predict.turns import Segment, segment_any_turn
from final_model_stage.image_reader import DecodedImage, DecodeError, decode_image
from final_model_stage.segmentation import Segmentation, Segmenter
from preprocessing_stage.dataset.prefetch import batches, prefetch

BATCH = 16
"""Images that go to the segmenter together; as many are prefetched."""

WRITERS = 2


@dataclass(frozen=True)
class Read:
    """The decoded image of a job, or the error."""

    job: Job
    image: DecodedImage | DecodeError


@dataclass(frozen=True)
class Predicted:
    """The prediction for the image of a job."""

    job: Job
    image: DecodedImage
    labels: np.ndarray
    """(h, w) uint8 leaf ids of `image.image`."""
    details: Segmentation | None
    """None unless `Wanted.details`."""


def predict_images(
    jobs: Iterable[Job], segmenter: Segmenter, files: PredictionFiles
) -> Iterator[Entry]:
    """Writes the files of each job; yields its index entry, in order, once they are written."""
    with (
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers,
        ThreadPoolExecutor(WRITERS) as writers,
    ):
        images = prefetch(readers, read, jobs, BATCH)
        predicted = (
            one
            for batch in batches(images, BATCH)
            for one in segment(segmenter, batch, files.wanted)
        )
        yield from prefetch(writers, partial(write, files), predicted, WRITERS)


def read(job: Job) -> Read:
    try:
        return Read(job, decode_image(job.source, job.max_pixels, job.work_pixels))
    except DecodeError as error:
        return Read(job, error)


def segment(
    segmenter: Segmenter, batch: Sequence[Read], wanted: Wanted
) -> Iterator[Predicted | Read]:
    """The prediction for each image, in order; those that could not be read are passed on."""
    images = [one.image.image for one in batch if isinstance(one.image, DecodedImage)]
    results = predictions(segmenter, images, wanted)
    for one in batch:
        if isinstance(one.image, DecodedImage):
            yield Predicted(one.job, one.image, *next(results))
        else:
            yield one


def predictions(
    segmenter: Segmenter, images: Sequence[np.ndarray], wanted: Wanted
) -> Iterator[tuple[np.ndarray, Segmentation | None]]:
    """Labels (h, w) uint8 of each image (h, w, 3) uint8, and the rest if `wanted.details`."""
    if not (wanted.details or wanted.variant):
        return ((labels, None) for labels in segmenter.label_maps(images))
    # One at a time: probabilities take 28 times the memory of labels.
    found = map(_how(segmenter, wanted), images)
    return ((one.labels, one if wanted.details else None) for one in found)


def _how(segmenter: Segmenter, wanted: Wanted) -> Segment:
    how: Segment = segmenter.segment
    if wanted.tiles:
        how = partial(segment_tiles, how)
    if wanted.any_turn:
        how = partial(segment_any_turn, how)
    return how


def write(files: PredictionFiles, result: Predicted | Read) -> Entry:
    """Write the files of an image. Returns its index entry."""
    entry: Entry = {"source": str(result.job.source), "name": result.job.name}
    if isinstance(result, Read):
        return entry | {"error": str(result.image)}
    height, width = result.image.size
    areas = files.write(result.job.name, result.image, result.labels, result.details)
    entry |= {"width": width, "height": height, "areas": areas}
    if files.wanted.instances:
        entry["people"] = files.write_instances(result.job.name, result.image, result.labels)
    if max(height, width) >= OBLONG * min(height, width) and not files.wanted.tiles:
        entry["notes"] = [f"{width} x {height}: people may be missed; try --tiles"]
    return entry
