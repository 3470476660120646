"""Prediction in this process; ray_cluster.py has the same for a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from deploy.predict.images import predict_images
from deploy.predict.index import Entry
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles
from deploy.predict.sources import is_video
from deploy.predict.videos import predict_video
from final_model_stage.segmentation import Segmenter


def predict(jobs: Sequence[Job], segmenter: Segmenter, files: PredictionFiles) -> Iterator[Entry]:
    """Writes the files of each job; yields its index entry then. Images first, then videos."""
    images = (job for job in jobs if not is_video(job.source))
    videos = (job for job in jobs if is_video(job.source))
    return chain(
        predict_images(images, segmenter, files),
        (predict_video(job, segmenter, files) for job in videos),
    )
