"""A video through a segmenter: films with its sound, and label maps of its frames."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat, takewhile

import numpy as np

from deploy.predict.frame_files import frame_path, remove_frames
from deploy.predict.images import BATCH, predictions
from deploy.predict.index import Entry
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, Wanted, alpha, areas
from deploy.predict.video_reader import Frame, Video, open_video, require_av
from deploy.predict.video_writer import H264, PRORES_4444, VideoWriter, takes_sound, video_writer
from final_model_stage.image_reader import DecodeError
from final_model_stage.segmentation import Segmentation, Segmenter
from preprocessing_stage.dataset.prefetch import batches, prefetch
from preprocessing_stage.dataset.shrink import nearest
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import palette


def predict_video(job: Job, segmenter: Segmenter, files: PredictionFiles) -> Entry:
    """Write all files of a video. Returns its index entry; areas are means over the frames."""
    entry: Entry = {"source": str(job.source), "name": job.name}
    paths = files.video_paths(job.name)
    try:
        with open_video(job.source, job.max_pixels) as video:
            return entry | _predict(job.name, video, segmenter, files)
    except DecodeError as error:
        entry["error"] = str(error)
    except require_av().error.FFmpegError as error:
        if error.errno == errno.ENOSPC:  # of the whole run, not of this video
            raise OSError(error.errno, error.strerror, str(paths["overlay"])) from error
        entry["error"] = f"its result could not be written: {error.strerror}"
    return entry


def _predict(name: str, video: Video, segmenter: Segmenter, files: PredictionFiles) -> Entry:
    wanted = Wanted(cutout=files.wanted.cutout)
    with ExitStack() as stack:
        outputs = _Outputs(stack, name, video, files)
        reader = stack.enter_context(ThreadPoolExecutor(1))
        for batch in batches(_frames(reader, video), BATCH):
            predicted = predictions(segmenter, [frame.image for frame in batch], wanted)
            for frame, (labels, more) in zip(batch, predicted, strict=True):
                outputs.add(frame, labels, more)
    return outputs.finish()


class _Outputs:
    """The files of one video while they are written, and what its index entry says."""

    def __init__(self, stack: ExitStack, name: str, video: Video, files: PredictionFiles) -> None:
        """stack: closes the films."""
        self._video, self._files, self._paths = video, files, files.video_paths(name)
        self._writers: dict[str, VideoWriter] = {}
        self._notes: list[str] = []
        self._pixels: Counter[str] = Counter()
        self._count, self._size, self._last = 0, (0, 0), 0.0
        stack.push(self._take_back)
        for kind, path in self._paths.items():
            if kind == "frames":
                continue
            encoding = PRORES_4444 if kind == "cutout" else H264
            with_sound = video.sound is not None and not kind.startswith("mask")
            if with_sound and not takes_sound(encoding, video.sound):
                with_sound = False
                self._notes.append(
                    f"{path.name} is without sound: {encoding.container} takes no "
                    f"{video.sound.codec_context.name}"
                )
            writer = video_writer(path, encoding, video, with_sound)
            self._writers[kind] = stack.enter_context(writer)

    def add(self, frame: Frame, labels: np.ndarray, details: Segmentation | None) -> None:
        """labels: (h, w) uint8 leaf ids of `frame.image`. details: for the cutout."""
        tree = self._files.tree
        self._count, self._last = self._count + 1, frame.seconds
        self._size = self._size if self._count > 1 else frame.size
        full = nearest(labels, frame.size)
        self._pixels.update(areas(full, tree))
        for kind, writer in self._writers.items():
            if kind == "overlay":
                picture = overlay(frame.image, labels, palette(tree))
            elif details is not None and kind == "cutout":
                picture = np.dstack([frame.image, alpha(details)])
            else:
                inside = np.isin(labels, tree.ids(kind.removeprefix("mask ")))
                picture = np.repeat(inside[..., None].astype(np.uint8) * 255, 3, axis=2)
            writer.write(picture, frame)
        if "frames" in self._paths:
            self._files.write_labels(frame_path(self._paths["frames"], self._count), full)

    def _take_back(self, error: type[BaseException] | None, *_: object) -> None:
        """Remove the frames of a run that failed: as the films, they are there whole or not at
        all. Those of a former run stay until the first one is written."""
        if error is not None and self._count and "frames" in self._paths:
            remove_frames(self._paths["frames"])

    def finish(self) -> Entry:
        """The index entry, once the films are closed."""
        if "frames" in self._paths:  # of a longer video that had this name before
            remove_frames(self._paths["frames"], after=self._count)
        if (jump := self._video.first_jump) is not None:
            sound = "" if self._video.sound is None else "; sound ends there"
            self._notes.append(f"the times of the frames jump at {jump:.1f} s{sound}")
        if damaged := self._video.damaged:
            self._notes.append(f"damaged: frames of {damaged} packets are left out")
        entry: Entry = {
            "width": self._size[1],
            "height": self._size[0],
            "frames": self._count,
            "seconds": round(self._last, 3),
            "areas": {name: round(total / self._count) for name, total in self._pixels.items()},
        }
        return entry | ({"notes": self._notes} if self._notes else {})


def _frames(reader: ThreadPoolExecutor, video: Video) -> Iterator[Frame]:
    """Frames, prefetched in the one thread of `reader`."""
    stream = video.frames()
    decoded = prefetch(reader, lambda _: next(stream, None), repeat(None), BATCH)
    return (frame for frame in takewhile(lambda frame: frame is not None, decoded) if frame)
