"""Files that are whole or not there, and the lock of the process that makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.file_lock import file_lock
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from preprocessing_stage.dataset.file_lock import file_lock
with file_lock(Path(sys.argv[1]), "waiting"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_what_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(file) as new:
        new.write("half")
        new.write(str(1 / 0))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "deep/lock"
    words = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        message = rf"lock: process {process.pid} is still rendering; wait for it or end it"
        with pytest.raises(UserError, match=message), file_lock(lock, "rendering"):
            pass
        process.kill()
    with file_lock(lock, "rendering"):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(OSError, match="data"), file_lock(tmp_path / "data/lock", "packing"):
        pass


def test_a_stage_names_what_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "results").touch()

    @exits_on_user_error()
    def stage() -> None:
        (tmp_path / "results/data").mkdir(parents=True)

    with pytest.raises(SystemExit, match=r"results/data'$"):
        stage()
