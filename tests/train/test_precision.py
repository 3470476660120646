"""The precision that suits a device is known from its flags, not from a slow trial."""

import os
import subprocess
import sys

import pytest
import torch

from train_stage.precision import pick_precision

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def test_a_processor_without_bf16_units_computes_in_fp32_and_no_product_tells() -> None:
    program = (
        "import torch\n"
        "torch.Tensor.__matmul__ = torch.matmul = None  # would fail\n"
        "from train_stage.precision import pick_precision\n"
        "print(pick_precision('auto', 'cpu'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | PLAIN,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "32-true"


def test_the_device_that_computes_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("train_stage.precision.cpu_has_bf16_units", lambda: False)
    assert pick_precision("auto", "cpu") == "32-true"
    assert pick_precision("auto", "cuda") == pick_precision("auto") == "bf16-mixed"


@pytest.mark.parametrize("flags", [{"avx512_bf16": True}, {"amx_bf16": True}, {}])
def test_units_are_known_from_flags(flags: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert pick_precision("auto", "cpu") == ("bf16-mixed" if flags else "32-true")


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="'fp16' is unknown; take one of auto, 32-true, bf"):
        pick_precision("fp16")  # type: ignore[arg-type]
