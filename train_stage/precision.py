"""Which precision a machine trains fastest in."""

from __future__ import annotations

import time
from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed"]


def pick_precision(
    setting: Literal["auto"] | Precision, device_type: str | None = None
) -> Precision:
    """The setting, or for "auto" bf16 where it is at least 1.5 times as fast as fp32.

    A GPU is asked whether it has bf16 units; a CPU multiplies two matrices, since only some have
    instructions for bf16 and the others emulate it slowly.
    """
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if has_units else "32-true"
    faster = _seconds(torch.float32) / _seconds(torch.bfloat16)
    return "bf16-mixed" if faster >= 1.5 else "32-true"


def _seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(1024, 1024, dtype=dtype)
    matrix @ matrix  # the first product sets up the library
    times = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return min(times)
