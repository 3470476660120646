"""Segmenting photographs: the whole chain against one Unet with a ResNet-34."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.rows import Row
from benchmarks.setup import Setup, copies
from benchmarks.smp_baseline import unet
from benchmarks.timing import interleaved
from deploy.predict.images import predict_images
from deploy.predict.jobs import Job
from deploy.predict.output_files import PredictionFiles, Wanted
from final_model_stage.segmentation import Segmenter
from preprocessing_stage.dataset.prefetch import batches
from preprocessing_stage.drawing.palette import palette
from train_stage.colour_statistics import MEAN, STD
from train_stage.precision import pick_precision

BASELINE_SIZE = 256
BASELINE_BATCH = 8


@dataclass(frozen=True)
class SegmentationSpeed:
    """Seconds of one image, images a second of a folder, from file to file."""

    images: int
    side: int
    ours_latency: float
    baseline_latency: float
    ours: float
    fast: float
    """Ours with one view by each expert."""
    baseline_single: float
    baseline_batched: float
    precision: str
    """Of the baseline; ours is what `Segmenter.load` takes."""

    def rows(self) -> list[Row]:
        size = f"{self.side} px"
        name = f"smp Unet ResNet-34, {BASELINE_SIZE} px, {self.precision}"
        single, batched = f"{name}, one by one", f"{name}, batches of {BASELINE_BATCH}"
        return [
            Row(f"one image, {size}", self.ours_latency, "s", name, self.baseline_latency),
            Row(f"folder, {size}", self.ours, "images/s", single, self.baseline_single),
            Row(f"folder, {size}", self.ours, "images/s", batched, self.baseline_batched),
            Row(f"folder, {size}, `--fast`", self.fast, "images/s", single, self.baseline_single),
        ]


class Baseline:
    """The Unet as its users call it: resize, predict, resize back."""

    def __init__(self, network: nn.Module, colours: np.ndarray, bf16: bool) -> None:
        """colours: palette (256, 3) uint8 of the PNGs."""
        self.network, self.colours, self.bf16 = network.eval(), colours, bf16
        self.mean, self.std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))

    @torch.inference_mode()
    def label(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        inputs = torch.stack([self._input(image) for image in images])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            found = self.network(inputs).argmax(1).byte().numpy()
        return [
            Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST)
            for labels, image in zip(found, images, strict=True)
        ]

    def segment(self, paths: Sequence[Path], out: Path, batch: int) -> None:
        for some in batches(paths, batch):
            images = [Image.open(path).convert("RGB") for path in some]
            for path, labels in zip(some, self.label(images), strict=True):
                labels.putpalette(self.colours.tobytes())
                labels.save(out / f"{path.stem}.png")

    def _input(self, image: Image.Image) -> Tensor:
        small = np.asarray(image.resize((BASELINE_SIZE, BASELINE_SIZE), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std


def measure(setup: Setup) -> SegmentationSpeed:
    scale, folder = setup.scale, setup.folder / "segmentation"
    paths = photographs(setup, folder / "data", scale.segmented)
    segmenter, fast = (Segmenter.load(setup.segmenter, fast=fast) for fast in (False, True))
    network = unet("resnet34", len(segmenter.tree.leaves))
    precision = pick_precision("auto", "cpu")
    baseline = Baseline(network, palette(segmenter.tree), precision == "bf16-mixed")
    for name in ("ours", "baseline"):
        (folder / name).mkdir()
    pictures = [Image.open(path).convert("RGB") for path in paths[: scale.latencies]]
    arrays = [np.asarray(picture) for picture in pictures]
    tasks: dict[str, Callable[[], object]] = {
        "baseline_latency": lambda: [baseline.label([picture]) for picture in pictures],
        "ours_latency": lambda: [segmenter(array) for array in arrays],
        "baseline_single": partial(baseline.segment, paths, folder / "baseline", 1),
        "ours": partial(segment, paths, segmenter, folder / "ours"),
        "fast": partial(segment, paths, fast, folder / "ours"),
        "baseline_batched": partial(baseline.segment, paths, folder / "baseline", BASELINE_BATCH),
    }
    seconds = interleaved(tasks, scale.repeats)
    return SegmentationSpeed(
        images=len(paths),
        side=scale.photograph,
        ours_latency=seconds["ours_latency"] / len(pictures),
        baseline_latency=seconds["baseline_latency"] / len(pictures),
        ours=len(paths) / seconds["ours"],
        fast=len(paths) / seconds["fast"],
        baseline_single=len(paths) / seconds["baseline_single"],
        baseline_batched=len(paths) / seconds["baseline_batched"],
        precision=precision,
    )


def photographs(setup: Setup, out: Path, count: int) -> list[Path]:
    """Files as large and as oblong as photographs, of which the root sees both ends too."""
    counts, side = {"train": count - 1, "val": 1}, setup.scale.photograph
    people = copies(setup.people, out, setup.tree, counts, side)
    paths = sorted((people.path / "JPEGImages").iterdir())
    for path in paths:
        with Image.open(path) as image:
            if image.width == image.height:  # as rendered people are
                image.crop((0, side // 8, side, side - side // 8)).save(path, quality=90)
    return paths


def segment(paths: Sequence[Path], segmenter: Segmenter, out: Path) -> None:
    """What `python -m deploy.predict` does with images."""
    files = PredictionFiles(out, segmenter.tree, Wanted())
    jobs = [Job(path, path.stem) for path in paths]
    for entry in predict_images(jobs, segmenter, files):
        if "error" in entry:
            raise RuntimeError(str(entry))
