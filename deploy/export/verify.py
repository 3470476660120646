"""Whether an exported file gives the segmenter's labels, and how long it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from deploy.export.drawn_scenes import drawn_scenes
from deploy.export.formats import Run
from deploy.predict.sources import find_sources, is_video
from final_model_stage.image_reader import DecodeError, decode_image
from final_model_stage.torch_segmenter import TorchSegmenter
from final_model_stage.validation_images import spread_images

MIN_AGREEMENT = 0.999
"""Share of the pixels of all images that must have the same label."""

MAX_IMAGES = 20
"""Images taken from the validation split, and images timed."""


@dataclass(frozen=True)
class CheckImage:
    name: str
    load: Callable[[], np.ndarray]
    """Gives (H, W, 3) uint8; raises DecodeError that names the file."""


@dataclass(frozen=True)
class Agreement:
    """Between an exported file and the segmenter, over all images."""

    share: float
    """Of the pixels with the same label."""
    absent: list[str]
    """Leaves that no pixel has, for which nothing was verified."""


def find_photographs(given: Sequence[str], out: Path) -> list[CheckImage]:
    """The images that are given, or else some validation images; none if there are no data.

    out: files in it are left out. Raises ValueError if what is given contains no image.
    """
    if given:
        paths = [path for path in find_sources(given, out, ()).files if not is_video(path)]
        if not paths:
            raise ValueError(f"{', '.join(given)}: contains no image; give others with --images")
    else:
        paths = spread_images(None, MAX_IMAGES)
    return [CheckImage(str(path), partial(_read, path)) for path in paths]


def draw_images() -> list[CheckImage]:
    """Where there are no photographs."""
    return [
        CheckImage(f"drawn scene {number}", lambda image=image: image)  # type: ignore[misc]
        for number, image in enumerate(drawn_scenes(), 1)
    ]


def verify(segmenter: TorchSegmenter, run: Run, images: Sequence[CheckImage]) -> Agreement:
    """Compare the labels of all pixels. Raises ValueError below MIN_AGREEMENT."""
    same = pixels = 0
    found = np.zeros(256, np.int64)
    worst = 1.0, images[0].name
    for check_image in images:
        image = check_image.load()
        labels = segmenter(image)
        equal = run(image) == labels
        same, pixels = same + int(equal.sum()), pixels + equal.size
        found += np.bincount(labels.ravel(), minlength=256)
        worst = min(worst, (float(equal.mean()), check_image.name))
    if same / pixels < MIN_AGREEMENT:
        raise ValueError(
            f"only {100 * same / pixels:.3f} % of the pixels have the segmenter's label, "
            f"{100 * worst[0]:.1f} % in {worst[1]}: not exported"
        )
    absent = [leaf.name for leaf in segmenter.tree.leaves if not found[leaf.id]]
    return Agreement(same / pixels, absent)


def latency(segmenter: TorchSegmenter, run: Run, images: Sequence[CheckImage]) -> dict[str, float]:
    """Median milliseconds per image, of the segmenter and of the exported file."""
    loaded = [image.load() for image in images[:MAX_IMAGES]]
    return {
        name: 1000 * _median_seconds(function, loaded)
        for name, function in (("PyTorch", segmenter), ("exported", run))
    }


def _median_seconds(function: Run, images: Sequence[np.ndarray]) -> float:
    function(images[0])  # warm-up
    times = []
    for image in images:
        start = time.perf_counter()
        function(image)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _read(path: Path) -> np.ndarray:
    try:
        return decode_image(path).image
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}") from error
