"""Prediction on a Ray cluster: read, segment and write as one stream of Ray Data.

The segmenter's folder, the sources and the output folder must have the same paths on all machines.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from deploy.predict.images import BATCH, Read, read, segment, write
from deploy.predict.index import Entry
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles
from deploy.predict.sources import is_video
from deploy.predict.videos import predict_video
from final_model_stage.segmentation import Segmenter

Row = dict[str, Any]
"""`value`: a pickled Job, Read, Predicted or Entry. Ray's own columns need arrays of one shape."""

_HALF = 0.5
"""CPUs of a process that reads or writes. With a whole one, as a segmenter has, Ray would fuse
reading and segmenting into one process, one after the other."""


def predict_on_ray(
    jobs: Sequence[Job],
    load: Callable[[], Segmenter],
    files: PredictionFiles,
    workers: int | None = None,
) -> Iterator[Entry]:
    """Writes the files of each job; yields its index entry then, in any order.

    load: loads a process's segmenter. workers: number of processes with a segmenter; None = one
    for each GPU, or else each CPU, of the cluster. Raises ImportError if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install '.[ray]'") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray sends usage reports
        ray.init(logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the caller shows one
    have = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = int(have.get("GPU", 0))
    spare = max(1, int(have["CPU"]) - 1)  # one for reading and writing
    count = workers or gpus or spare
    rows = [{"value": pickle.dumps(job)} for job in jobs]
    entries = (
        ray.data.from_items(rows, override_num_blocks=max(1, -(-len(rows) // BATCH)))
        .map(_read, num_cpus=_HALF)
        .map_batches(
            _Worker,
            fn_constructor_args=(load, files),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=count),
            # With all CPUs in use, Ray would wait forever for one to read with.
            num_cpus=min(1, (have["CPU"] - _HALF) / count),
            num_gpus=1 if gpus else 0,
        )
        .map(partial(_write, files=files), num_cpus=_HALF)
    )
    return (pickle.loads(row["value"]) for row in entries.iter_rows())


def _read(row: Row) -> Row:
    job: Job = pickle.loads(row["value"])
    return {"value": pickle.dumps(job if is_video(job.source) else read(job))}


class _Worker:
    """A process with a segmenter."""

    def __init__(self, load: Callable[[], Segmenter], files: PredictionFiles) -> None:
        self.segmenter, self.files = load(), files

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """Images are segmented; videos are read, segmented and written here."""
        given = [pickle.loads(value) for value in batch["value"]]
        images = [one for one in given if isinstance(one, Read)]
        done: list[Any] = list(segment(self.segmenter, images, self.files.wanted))
        done += [
            predict_video(job, self.segmenter, self.files) for job in given if isinstance(job, Job)
        ]
        return {"value": [pickle.dumps(one) for one in done]}


def _write(row: Row, files: PredictionFiles) -> Row:
    result = pickle.loads(row["value"])
    entry = result if isinstance(result, dict) else write(files, result)
    return {"value": pickle.dumps(entry)}
