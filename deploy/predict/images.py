"""Pictures through a segmenter: reading, network and writing at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from deploy.predict.index import Entry
from deploy.predict.output_files import PredictionFiles
from final_model_stage.image_reader import DecodeError, Picture, decode_picture
from final_model_stage.segmenter import Segmentation, Segmenter
from preprocessing_stage.dataset.prefetch import batches, prefetch

BATCH = 16
"""Pictures that go to the segmenter together. As many are read ahead."""

WRITERS = 2


@dataclass(frozen=True)
class Job:
    """A source and what it is called in the folder of results."""

    source: Path
    name: str


@dataclass(frozen=True)
class Read:
    """A picture as it was read, or why it could not be."""

    job: Job
    picture: Picture | DecodeError


@dataclass(frozen=True)
class Found:
    """What the segmenter says of a picture; `details` only where they are wanted."""

    job: Job
    picture: Picture
    labels: np.ndarray
    """(h, w) uint8 leaf ids of `picture.image`."""
    details: Segmentation | None


def predict_pictures(
    jobs: Iterable[Job], segmenter: Segmenter, files: PredictionFiles, max_pixels: int
) -> Iterator[Entry]:
    """The index's line of each job, in order, when its files are written."""
    with (
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as readers,
        ThreadPoolExecutor(WRITERS) as writers,
    ):
        pictures = prefetch(readers, partial(read, max_pixels=max_pixels), jobs, BATCH)
        found = (
            one
            for batch in batches(pictures, BATCH)
            for one in segment(segmenter, batch, files.wanted.details)
        )
        yield from prefetch(writers, partial(write, files), found, WRITERS)


def read(job: Job, max_pixels: int) -> Read:
    try:
        return Read(job, decode_picture(job.source, max_pixels))
    except DecodeError as error:
        return Read(job, error)


def segment(segmenter: Segmenter, batch: Sequence[Read], details: bool) -> Iterator[Found | Read]:
    """Of each picture what is found in it, in order; those that were not read as they are."""
    images = [one.picture.image for one in batch if isinstance(one.picture, Picture)]
    results: Iterator[tuple[np.ndarray, Segmentation | None]]
    if details:  # one at a time: probabilities take 28 times the memory of labels
        results = ((found.labels, found) for found in map(segmenter.segment, images))
    else:
        results = ((labels, None) for labels, _ in segmenter.predict(images))
    for one in batch:
        if isinstance(one.picture, Picture):
            yield Found(one.job, one.picture, *next(results))
        else:
            yield one


def write(files: PredictionFiles, result: Found | Read) -> Entry:
    """Write a picture's files. Returns its line in the index."""
    entry: Entry = {"source": str(result.job.source), "name": result.job.name}
    if isinstance(result, Read):
        return entry | {"error": str(result.picture)}
    height, width = result.picture.size
    areas = files.write(result.job.name, result.picture, result.labels, result.details)
    return entry | {"width": width, "height": height, "areas": areas}
