"""Segmenting a folder on Ray with one worker and with two."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row
from benchmarks.segmentation import photographs, segment
from benchmarks.setup import ROOT, Setup
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, Wanted
from deploy.predict.ray_cluster import predict_on_ray
from final_model_stage.segmentation import Segmenter

MAX_START = 600
"""Seconds that the workers may take to load; nothing is read before all of them have."""


@dataclass(frozen=True)
class RaySpeed:
    """Images a second, from when all workers have their segmenter to the last file."""

    images: int
    one_worker: float
    two_workers: float
    without_ray: float
    """By the command without `--ray`, in the same minutes."""
    start_seconds: float
    """Until two workers have their segmenters."""

    def rows(self) -> list[Row]:
        two = self.two_workers
        started = f"two workers, started in {self.start_seconds:.0f} s"
        return [
            Row(started, two, "images/s", "one worker", self.one_worker, "about 2"),
            Row("two workers", two, "images/s", "without Ray", self.without_ray, "about 1"),
        ]


class Load:
    """Makes a worker's segmenter and leaves a mark when it is there."""

    def __init__(self, segmenter: Path, marks: Path) -> None:
        self.segmenter, self.marks = segmenter, marks

    def __call__(self) -> Segmenter:
        segmenter = Segmenter.load(self.segmenter)
        (self.marks / f"{os.getpid()}").write_text(str(time.time()))
        return segmenter


def measure(setup: Setup) -> RaySpeed:
    """Ray is told of a core more than there are workers: it wants one for reading and writing."""
    import ray

    folder = setup.folder / "ray"
    paths = photographs(setup, folder / "data", setup.scale.spread)
    segmenter = Segmenter.load(setup.segmenter)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would report home
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    ray.data.DataContext.get_current().wait_for_min_actors_s = MAX_START
    try:
        rates = {count: on_ray(paths, setup, folder / f"out_{count}", count) for count in (1, 2)}
    finally:
        ray.shutdown()
    (folder / "out").mkdir()
    start = time.perf_counter()
    segment(paths, segmenter, folder / "out")
    alone = time.perf_counter() - start
    (one, _), (two, started) = rates[1], rates[2]
    return RaySpeed(len(paths), one, two, len(paths) / alone, started)


def on_ray(paths: list[Path], setup: Setup, out: Path, workers: int) -> tuple[float, float]:
    """Images a second once all workers have a segmenter, and the seconds until then."""
    marks = out / "marks"
    marks.mkdir(parents=True)
    tree = Segmenter.load(setup.segmenter).tree
    files = PredictionFiles(out, tree, Wanted())
    jobs = [Job(path, path.stem) for path in paths]
    load = Load(setup.segmenter, marks)
    start = time.time()
    entries = list(predict_on_ray(jobs, load, files, workers))
    end = time.time()
    if failed := [entry for entry in entries if "error" in entry]:
        raise RuntimeError(str(failed[0]))
    ready = max(float(mark.read_text()) for mark in marks.iterdir())
    return len(entries) / (end - ready), ready - start
