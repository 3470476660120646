"""`./pipeline.sh --profile`: a workspace of its own, for one run at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "pipeline.sh"
# Stands for Python, DVC and the setting up: each says that it was called, and writes --out.
STAND_IN = """
called() {
  echo "called $*"
  while [ $# -gt 1 ]; do [ "$1" != --out ] || echo new >"$2"; shift; done
}
python() { called python "$@"; }
dvc() { called dvc "$@"; }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "setup.sh").write_text(STAND_IN)
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / ".dvcignore").touch()
    for folder in ("preprocessing_stage", "train_stage", "final_model_stage", "profiles", "photos"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train_stage/model.py").write_text("new")
    (tmp_path / "profiles/mine.yaml").touch()
    return tmp_path


def run(place: Path, *targets: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["./pipeline.sh", "--profile", "profiles/mine.yaml", "--data", "photos", *targets]
    return subprocess.run(
        command,
        cwd=place,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_workspace_gets_the_code_of_today_and_runs_up_to_the_report(place: Path) -> None:
    old = place / "runs/mine/train_stage/removed_since.py"
    old.parent.mkdir(parents=True)
    old.touch()
    done = run(place)
    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert (place / "runs/mine/train_stage/model.py").read_text() == "new"
    assert (place / "runs/mine/params.yaml").read_text() == "new\n"
    said = done.stdout
    assert said.index("called dvc repro report\n") < said.index("final_model_stage.print_results")


def test_results_of_an_earlier_run_are_not_printed_as_new(place: Path) -> None:
    stale = '\ndvc() { called dvc "$@"; [ "$1" != status ]; }\n'
    (place / "setup.sh").write_text(STAND_IN + stale)
    done = run(place, "sample_sheet")
    assert done.returncode == 0, done.stderr
    assert "called dvc repro sample_sheet\n" in done.stdout
    assert "print_results" not in done.stdout
    assert "Other stages are not up to date" in done.stdout


@pytest.mark.parametrize("cache", [".dvc/cache", "../shared cache"])
def test_the_workspace_has_the_cache_of_the_clone(place: Path, cache: str) -> None:
    dvc = f'"{sys.executable}" -m dvc'
    real = f'\ndvc() {{ [ "$1" = repro ] || [ "$1" = status ] || {dvc} "$@"; }}\n'
    (place / "setup.sh").write_text(STAND_IN + real)
    for command in (["init", "--no-scm"], ["cache", "dir", "--local", cache]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=place, check=True)
    for _ in range(2):
        done = run(place)
        assert done.returncode == 0, done.stderr
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"],
        cwd=place / "runs/mine",
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(asked.stdout.strip()).resolve() == (place / cache).resolve()


def test_a_second_run_in_the_same_workspace_touches_nothing(place: Path) -> None:
    model = place / "runs/mine/train_stage/model.py"
    model.parent.mkdir(parents=True)
    model.write_text("in use")
    with (place / "runs/mine/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(place)
    assert done.returncode == 1
    assert "runs/mine: another ./pipeline.sh runs here" in done.stderr
    assert model.read_text() == "in use"
    assert not (place / "runs/mine/params.yaml").exists()
    assert "called" not in done.stdout


def test_data_are_looked_for_where_the_command_is_given_alone(place: Path) -> None:
    (place / "elsewhere/photos").mkdir(parents=True)
    done = run(place, CDPATH=str(place / "elsewhere"))
    assert done.returncode == 0, done.stderr
    assert f"--data {place / 'photos'} --out" in done.stdout


def test_a_profile_that_is_not_there_is_named(place: Path) -> None:
    (place / "profiles/mine.yaml").rename(place / "profiles/other.yaml")
    done = run(place)
    assert done.returncode == 2
    assert done.stderr == (
        f"--profile {place}/profiles/mine.yaml: no such file; there is: profiles/other.yaml\n"
    )
