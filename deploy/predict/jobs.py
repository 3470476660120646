"""What a run has to do: a job for each source, and which of them are done already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.predict.index import PredictionIndex
from deploy.predict.output_files import PredictionFiles
from deploy.predict.sources import is_video
from final_model_stage.image_reader import MAX_PIXELS


@dataclass(frozen=True)
class Job:
    """An image or video to segment."""

    source: Path
    name: str
    """Stem of its output files."""
    max_pixels: int = MAX_PIXELS
    """Of the image, or of a frame of the video; larger ones are refused."""


def output_paths(job: Job, files: PredictionFiles) -> list[Path]:
    if is_video(job.source):
        return [files.video_path(job.name)]
    return list(files.paths(job.name).values())


def unfinished(jobs: Sequence[Job], files: PredictionFiles, index: PredictionIndex) -> list[Job]:
    """Jobs that an earlier run did not complete, or some of whose files are missing."""
    return [
        job
        for job in jobs
        if not index.is_done(job.source)
        or not all(path.exists() for path in output_paths(job, files))
    ]


def refuse_overwriting(jobs: Sequence[Job], files: PredictionFiles) -> None:
    """Raises ValueError that names the sources that an output file would replace."""
    sources = {os.path.realpath(job.source) for job in jobs}
    outputs = {os.path.realpath(path) for job in jobs for path in output_paths(job, files)}
    if both := sorted(sources & outputs):
        raise ValueError(
            f"results would be written over {', '.join(both)}; give another --out than {files.out}"
        )
