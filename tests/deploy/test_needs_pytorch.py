"""Console scripts after `pip install .`, which leaves PyTorch out."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
WITHOUT_PYTORCH = """
import importlib, sys
sys.modules |= dict.fromkeys(["torch", "torchvision", "timm", "dvc", "lightning_fabric"])
sys.argv = ["a command", "--help"]
module, name = sys.stdin.read().split(":")
getattr(importlib.import_module(module), name)()
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_pytorch_a_script_helps_or_says_what_it_needs(name: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH],
        input=SCRIPTS[name],
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    needs = name.removeprefix("person-parts-") in ("export", "evaluate", "model-card")
    assert ran.returncode == (1 if needs else 0), ran.stderr
    assert ("pip install -r requirements.txt" in ran.stderr) == needs
    assert "Traceback" not in ran.stderr and ("usage:" in ran.stdout) != needs
