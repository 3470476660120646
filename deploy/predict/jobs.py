"""What a run has to do: a job for each source, and which of them are done already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.predict.frame_files import FRAME, frames_of
from deploy.predict.index import PredictionIndex
from deploy.predict.output_files import PredictionFiles
from deploy.predict.sources import is_video
from final_model_stage.chain.settings import Settings
from final_model_stage.image_reader import MAX_PIXELS


@dataclass(frozen=True)
class Job:
    """An image or video to segment."""

    source: Path
    name: str
    """Stem of its output files."""
    max_pixels: int = MAX_PIXELS
    """Of the image, or of a frame of the video; larger ones are refused."""
    work_pixels: int | None = None
    """That an image is scaled down to; None = sides up to WORK_SIDE."""


def output_paths(job: Job, files: PredictionFiles) -> list[Path]:
    if is_video(job.source):
        return list(files.video_paths(job.name).values())
    return list(files.paths(job.name).values())


def output_names(job: Job, files: PredictionFiles) -> list[str]:
    """Paths of a job's files, relative to the output folder; a pattern for those of frames."""
    return [path.relative_to(files.out).as_posix() for path in output_paths(job, files)]


def stamp(job: Job, files: PredictionFiles, segmenter: str) -> dict[str, Any]:
    """What a prediction was made of: the file's size and time, and the segmenter's digest."""
    if not is_video(job.source):
        segmenter += files.wanted.variant
    try:
        status = job.source.stat()
        size, modified = status.st_size, status.st_mtime_ns
    except (OSError, ValueError):  # the reader says what is wrong with it
        return {"bytes": None, "modified": None, "segmenter": segmenter}
    return {"bytes": size, "modified": modified, "segmenter": segmenter}


def segmenter_digest(settings: Settings) -> str:
    """Of all that a segmenter's predictions depend on but the precision."""
    content = settings.model_dump_json(exclude={"version", "graphs"})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def unfinished(
    jobs: Sequence[Job], files: PredictionFiles, index: PredictionIndex, segmenter: str
) -> list[Job]:
    """Jobs that an earlier run did not complete, some of whose files are missing, or whose source
    or segmenter is another one now."""
    return [
        job
        for job in jobs
        if not index.is_done(job.source, stamp(job, files, segmenter), _keys(job, files))
        or not index.stale_files(str(job.source)).isdisjoint(output_names(job, files))
        or not all(
            len(_there(path)) >= (index.frames_of(str(job.source)) if path.name == FRAME else 1)
            for path in output_paths(job, files)
        )
    ]


def _keys(job: Job, files: PredictionFiles) -> list[str]:
    """What an entry has besides what all have."""
    return ["people"] if files.wanted.instances and not is_video(job.source) else []


def _there(path: Path) -> list[Path]:
    """The file, or the files of a pattern of frames, as far as they are there."""
    if path.name == FRAME:
        return frames_of(path)
    return [path] if os.path.lexists(path) else []


def refuse_overwriting(jobs: Sequence[Job], files: PredictionFiles, index: PredictionIndex) -> None:
    """Raises ValueError that names every file that is not ours and would be replaced."""
    sources = {os.path.realpath(job.source) for job in jobs}
    theirs = []
    for job in jobs:
        for path, name in zip(output_paths(job, files), output_names(job, files), strict=True):
            # The name that atomic_write has for a file until it is whole.
            part = path.with_name(path.name + ".part")
            for one in [*_there(path), *_there(part)]:
                if os.path.realpath(one) in sources:
                    theirs.append(f"{one}: is a source")
                elif name not in index.ours:
                    theirs.append(f"{one}: exists, and {index.path} does not name it")
    if theirs:
        shown = theirs[:20] + ([f"... and {len(theirs) - 20} more"] if len(theirs) > 20 else [])
        raise ValueError(
            "\n  ".join(["would be written over; give another --out, or move them:", *shown])
        )
