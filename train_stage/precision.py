"""Precisions of a network, and which one a device computes fastest in.

PyTorch is imported where it is needed: prediction in ONNX Runtime does without.
"""

from __future__ import annotations

from typing import Literal, get_args

Arithmetic = Literal["32-true", "bf16-mixed"]
"""What a device computes in, as lightning-fabric calls it."""

Precision = Literal["auto", Arithmetic]
"""What may be asked for."""


def check_precision(setting: str) -> None:
    """Raises ValueError for a setting that is no `Precision`."""
    if setting not in (known := get_args(Precision)):
        raise ValueError(f"precision {setting!r} is unknown; take one of {', '.join(known)}")


def pick_precision(setting: Precision, device_type: str | None = None) -> Arithmetic:
    """The setting, or for "auto" bf16 where the device has units for it.

    device_type: cpu or cuda; None = cuda where there is one. A processor without units emulates
    bf16: one convolution takes 28.5 s instead of 0.11 (AMD EPYC with AVX2 alone).
    Raises ValueError for a setting that is none of these.
    """
    import torch

    check_precision(setting)
    if setting != "auto":
        return setting
    if device_type is None:
        device_type = "cuda" if torch.cuda.is_available() else "cpu"
    if device_type == "cuda":
        has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_units = cpu_has_bf16_units()
    return "bf16-mixed" if has_units else "32-true"


def cpu_has_bf16_units() -> bool:
    """Whether the processor multiplies bf16 by itself, and oneDNN may use that.

    ONEDNN_MAX_CPU_ISA=AVX2 makes a faster processor behave as one without.
    """
    import torch

    flags = torch.cpu.get_capabilities()
    has_units = any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    has_library = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    allowed = has_library and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(has_units and allowed)
