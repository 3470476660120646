"""The wheel: packages, data files, version, console scripts that lead somewhere."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import final_model_stage

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
REQUIREMENTS = "requirements-predict.txt"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    packages = ("preprocessing_stage", "train_stage", "final_model_stage", "deploy", "benchmarks")
    for name in names:
        if name.startswith(packages) or name in ("pyproject.toml", REQUIREMENTS, "README.md"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    # setuptools is there, as PyTorch needs it: nothing is downloaded.
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["-w", str(folder), "."]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_code_and_data_files_are_in_it(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {
        "deploy/demo/page/page.js",
        "deploy/demo/page/page.css",
        "deploy/demo/page/index.html.j2",
        "deploy/model_card/model_card.md.j2",
        "final_model_stage/reporting/report.html.j2",
        "preprocessing_stage/rendering/body.py",
        "train_stage/model.py",
    } <= names
    assert not [name for name in names if name.startswith(("tests", "results", "pretrained"))]


def test_version_and_dependencies_are_those_of_the_repository(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    lines = wheel.read(name).decode().splitlines()
    assert f"Version: {final_model_stage.__version__}" in lines
    pins = [line.partition("#")[0].strip() for line in (ROOT / REQUIREMENTS).open()]
    assert {f"Requires-Dist: {pin}" for pin in pins if pin} <= set(lines)


def test_console_scripts_are_functions(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    scripts = ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert len(scripts["console_scripts"]) == 7
    for target in scripts["console_scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
