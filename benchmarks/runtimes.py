"""One photograph at a time, in PyTorch and in ONNX Runtime, on the same cores in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

from benchmarks.rows import Row
from benchmarks.segmentation import BASELINE_SIZE, Baseline, photographs
from benchmarks.setup import Setup
from benchmarks.smp_baseline import unet
from benchmarks.timing import interleaved
from final_model_stage.onnx_segmenter import OnnxSegmenter
from final_model_stage.segmentation import Segmenter
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.drawing.palette import palette
from train_stage.precision import pick_precision

CHAIN, FAST, UNET = "chain, as shipped", "chain, `--fast`", f"Unet ResNet-34, {BASELINE_SIZE} px"


@dataclass(frozen=True)
class RuntimeSpeed:
    """Seconds of one photograph."""

    side: int
    torch: dict[str, float]
    onnx: dict[str, float]
    precision: str
    """PyTorch's; ONNX Runtime computes in 32 bits."""

    def rows(self) -> list[Row]:
        size, ours = f"{self.side} px", "ms, ONNX Runtime"
        rows = [
            Row(f"{name}, {size}", 1000 * seconds, ours, f"PyTorch, {self.precision}", 1000 * other)
            for (name, seconds), other in zip(self.onnx.items(), self.torch.values(), strict=True)
        ]
        fastest = {name: min(self.onnx[name], self.torch[name]) for name in (FAST, UNET)}
        what, against = f"{FAST}, {size}, the faster runtime", f"{UNET}, the faster runtime"
        return [
            *rows,
            Row(what, 1 / fastest[FAST], "images/s", against, 1 / fastest[UNET], ">= 2"),
        ]


class InOnnx(nn.Module):
    """A network as ONNX Runtime runs it."""

    def __init__(self, network: nn.Module, example: torch.Tensor) -> None:
        super().__init__()
        program = torch.onnx.export(network, (example,), dynamo=True, verbose=False)
        assert program is not None
        content = program.model_proto.SerializeToString()
        self._session: Any = onnxruntime.InferenceSession(content)
        [self._input] = [given.name for given in self._session.get_inputs()]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._session.run(None, {self._input: images.numpy()})[0])


def measure(setup: Setup) -> RuntimeSpeed:
    """Raises ValueError, with the remedy, if the segmenter's folder holds no graphs."""
    paths = photographs(setup, setup.folder / "runtimes", setup.scale.latencies)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    precision = pick_precision("auto", "cpu")
    network = unet("resnet34", 7).eval()
    example = torch.zeros(1, 3, BASELINE_SIZE, BASELINE_SIZE)
    colours = palette(TorchSegmenter.load(setup.segmenter).tree)
    tasks: dict[str, Callable[[], object]] = {}
    for runtime in ("torch", "onnx"):
        is_onnx = runtime == "onnx"
        for name, fast in ((CHAIN, False), (FAST, True)):
            one: Segmenter = (
                OnnxSegmenter.of_folder(setup.segmenter, fast=fast)
                if is_onnx
                else TorchSegmenter.load(setup.segmenter, precision, fast=fast)
            )
            tasks[f"{runtime} {name}"] = _each(one, arrays)
        run = InOnnx(network, example) if is_onnx else network
        baseline = Baseline(run, colours, precision == "bf16-mixed" and not is_onnx)
        tasks[f"{runtime} {UNET}"] = partial(_batches_of_one, baseline, pictures)
    seconds = {name: s / len(paths) for name, s in interleaved(tasks, setup.scale.repeats).items()}
    found = {
        runtime: {name: seconds[f"{runtime} {name}"] for name in (CHAIN, FAST, UNET)}
        for runtime in ("torch", "onnx")
    }
    return RuntimeSpeed(setup.scale.photograph, found["torch"], found["onnx"], precision)


def _batches_of_one(baseline: Baseline, pictures: Sequence[Image.Image]) -> None:
    for picture in pictures:
        baseline.label([picture])


def _each(run: Callable[[Any], object], images: Sequence[Any]) -> Callable[[], object]:
    return lambda: [run(image) for image in images]
