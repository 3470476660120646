"""The same prediction over a Ray cluster: read, segment, write, as one stream of Ray Data.

The segmenter's folder, the sources and the folder of results must have one path on all machines.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from deploy.predict.images import BATCH, Job, Read, read, segment, write
from deploy.predict.index import Entry
from deploy.predict.output_files import PredictionFiles
from deploy.predict.sources import is_video
from deploy.predict.videos import predict_video
from final_model_stage.segmenter import Segmenter

Row = dict[str, Any]
"""`value`: a pickled Job, Read, Found or Entry. Columns of Ray's own want arrays of one shape."""

_HALF = 0.5
"""CPUs of a process that reads or writes. With a whole one, as a segmenter has, Ray would put
reading and segmenting into one process, one after the other."""


def predict_on_ray(
    jobs: Sequence[Job],
    load: Callable[[], Segmenter],
    files: PredictionFiles,
    max_pixels: int,
    workers: int | None = None,
) -> Iterator[Entry]:
    """The index's line of each job when its files are written, in any order.

    load: makes the segmenter of a process. workers: how many processes have one; None = one for
    each GPU, or CPU, of the cluster. Raises ImportError if Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--ray needs Ray: pip install '.[ray]'") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report home
        ray.init(logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the caller has one
    have = ray.cluster_resources()
    gpus = int(have.get("GPU", 0))
    spare = max(1, int(have["CPU"]) - 1)  # one for those that read and write
    count = workers or gpus or spare
    rows = [{"value": pickle.dumps(job)} for job in jobs]
    entries = (
        ray.data.from_items(rows, override_num_blocks=max(1, -(-len(rows) // BATCH)))
        .map(partial(_read, max_pixels=max_pixels), num_cpus=_HALF)
        .map_batches(
            _Worker,
            fn_constructor_args=(load, files, max_pixels),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=count),
            # With all CPUs taken, Ray would wait for ever for one to read with.
            num_cpus=min(1, (have["CPU"] - _HALF) / count),
            num_gpus=1 if gpus else 0,
        )
        .map(partial(_write, files=files), num_cpus=_HALF)
    )
    return (pickle.loads(row["value"]) for row in entries.iter_rows())


def _read(row: Row, max_pixels: int) -> Row:
    job: Job = pickle.loads(row["value"])
    return {"value": pickle.dumps(job if is_video(job.source) else read(job, max_pixels))}


class _Worker:
    """A process with a segmenter."""

    def __init__(
        self, load: Callable[[], Segmenter], files: PredictionFiles, max_pixels: int
    ) -> None:
        self.segmenter = load()
        self.files, self.max_pixels = files, max_pixels

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """Pictures become what is found in them; videos are done here, from file to file."""
        given = [pickle.loads(value) for value in batch["value"]]
        pictures = [one for one in given if isinstance(one, Read)]
        done: list[Any] = list(segment(self.segmenter, pictures, self.files.wanted.details))
        done += [
            predict_video(job, self.segmenter, self.files.out, self.max_pixels)
            for job in given
            if isinstance(job, Job)
        ]
        return {"value": [pickle.dumps(one) for one in done]}


def _write(row: Row, files: PredictionFiles) -> Row:
    result = pickle.loads(row["value"])
    entry = result if isinstance(result, dict) else write(files, result)
    return {"value": pickle.dumps(entry)}
