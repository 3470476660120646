"""`source ./setup.sh`: an environment that is whole, however an earlier try ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("requirements-predict.txt", "requirements.txt", "requirements.lock", "pyproject.toml")
# Stands for a Python: says what it is asked for, and makes what `venv` would.
STAND_IN = """#!/usr/bin/env bash
echo "called $*"
if [ "$*" = "-m venv .venv" ]; then
  mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/pip
fi
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("setup.sh", *FILES):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(STAND_IN)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def set_up(place: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "source ./setup.sh predict"],
        cwd=place,
        env=os.environ | {"PYTHON": str(place / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("there", [[], ["python"], ["python", "pip"]], ids=len)
def test_an_environment_without_pip_is_made_once_more(there: list[str], place: Path) -> None:
    for name in there:
        (place / ".venv/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "python", place / ".venv/bin" / name)
    assert ("called -m venv .venv" in set_up(place)) == ("pip" not in there)
    assert "called -m venv" not in set_up(place)
