"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from train_stage.precision import pick_precision

BF16_UNITS = ("amx_bf16", "avx512_bf16")
"""Flags of Linux for a processor that multiplies bf16 by itself."""


@dataclass(frozen=True)
class Machine:
    cpu: str
    bf16: str
    """Which units for bf16 it has."""
    cores: int
    threads: int
    """That torch computes with."""
    precision: str
    """What `precision: auto` picks here."""
    python: str
    torch: str
    baseline: str
    """Version of segmentation_models_pytorch, or that there is none."""

    def __str__(self) -> str:
        return (
            f"{self.cpu} ({self.bf16}), {self.cores} cores, {self.threads} threads, "
            f"{self.precision}, torch {self.torch}, segmentation_models_pytorch {self.baseline}, "
            f"Python {self.python}"
        )


def this_machine() -> Machine:
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    units = [flag for flag in BF16_UNITS if flag in text]
    return Machine(
        cpu=name[1] if name else platform.processor() or platform.machine(),
        bf16=" and ".join(units) or "no units for bf16 known of",
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        precision=pick_precision("auto", "cpu"),
        python=platform.python_version(),
        torch=torch.__version__,
        baseline=_version_of("segmentation-models-pytorch"),
    )


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # what does not compare itself with it needs no baseline
        return "not installed"
