"""A copy of the pipeline with a tiny data set and two experts, and how it is run and compared."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/fixtures")]

from train_fixtures import TINY, TREE, draw_pairs, sections  # noqa: E402

from preprocessing_stage.dataset.dataset_folder import write_listing  # noqa: E402

REQUIREMENTS = (
    "requirements-predict.txt",
    "requirements.txt",
    "requirements.lock",
    "pyproject.toml",
)
STAGES = ("preprocessing_stage", "train_stage", "final_model_stage")
COMPARED = ("results/data", "results/experts", "results/final", "models", "data")
"""What has to be equal byte for byte; the pictures' PNGs say no more than these."""


wanted: tuple[str, ...] = ()
"""Stages that ./pipeline.sh is to bring about; () = all."""


def make(folder: Path, loader_workers: int = 0) -> Path:
    """The new folder `folder`, in which ./pipeline.sh finds all it needs."""
    folder.mkdir(parents=True)
    for stage in STAGES:
        shutil.copytree(ROOT / stage, folder / stage, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pipeline.sh", "setup.sh", "dvc.yaml", ".dvcignore", *REQUIREMENTS):
        shutil.copy(ROOT / file, folder)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc")
    _link_environment(folder / ".venv")
    _write_data(folder / "people")
    params = sections(epochs=3, decoder_epochs=1)
    params["data"] |= {"folder": "people", "longest_side": 48}
    params["render_people"] |= {"train": 2, "val": 2, "size": 32}
    params["machine"]["loader_workers"] = loader_workers
    params["final"] |= {"bootstrap": 100, "examples": 2, "precision": TINY["precision"]}
    (folder / "params.yaml").write_text(json.dumps(params))
    return folder


def start(folder: Path, *before: str) -> subprocess.Popen[bytes]:
    """./pipeline.sh in a session of its own; its output is in `folder`/log, its errors too.

    before: a command that runs it.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_MININTERVAL": "600"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*before, "./pipeline.sh", *wanted],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_stage(process: subprocess.Popen[bytes], folder: Path, number: int) -> bool:
    """Until the stage of that number, from 0, has started; False if the run ended before."""
    while len(stages_run(folder)) <= number:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


def run(folder: Path, *before: str) -> int:
    """./pipeline.sh to its end; its exit status."""
    return start(folder, *before).wait()


def log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")


def stages_run(folder: Path) -> list[str]:
    """Of the last run, in their order."""
    return re.findall(r"Running stage '(.+?)'", log(folder))


def recorded(folder: Path) -> set[str]:
    """Stages that DVC has noted as done."""
    lock = folder / "dvc.lock"
    return set(re.findall(r"^  (\S+):$", lock.read_text(), re.M)) if lock.exists() else set()


def contents(folder: Path) -> dict[str, str]:
    """Path -> hash of all that is compared."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in COMPARED
        for path in sorted((folder / top).rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def processes(folder: Path) -> list[psutil.Process]:
    """Those that work in `folder`, whoever started them; parents first."""
    found = []
    for process in psutil.process_iter(["cwd", "create_time"]):
        if process.info["cwd"] and Path(process.info["cwd"]) == folder:
            found.append(process)
    return sorted(found, key=lambda process: process.info["create_time"])


def stage_processes(folder: Path) -> list[psutil.Process]:
    """Of a running stage, and below it its workers."""
    return [p for p in processes(folder) if any("_stage." in w for w in words_of(p))]


def wait_for_end(folder: Path, seconds: float = 120) -> None:
    """Until no process works in `folder`; what is still there then is killed."""
    end = time.monotonic() + seconds
    while left := processes(folder):
        if time.monotonic() > end:
            for process in left:
                process.kill()
        time.sleep(0.1)


def send(number: int, folder: Path, target: str) -> str:
    """A signal to `all` processes, `dvc`, the `stage` or `pipeline.sh`; the target or what it
    became."""
    there = processes(folder)
    some = {
        "all": there,
        "pipeline.sh": there[:1],
        "dvc": [p for p in there if any(w.endswith("/dvc") for w in words_of(p))][:1],
        "stage": stage_processes(folder)[:1],
    }[target]
    if not some:  # between two stages there is none
        target, some = "all", there
    for process in some:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    return target


def name_of(number: int) -> str:
    return signal.Signals(number).name


def words_of(process: psutil.Process) -> list[str]:
    """Its command, empty if it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _link_environment(folder: Path) -> None:
    """The running Python's environment, with the stamp by which setup.sh knows it is complete."""
    folder.mkdir()
    for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg"):
        if (Path(sys.prefix) / name).exists():
            (folder / name).symlink_to(Path(sys.prefix) / name)
    texts = b"".join((ROOT / name).read_bytes() for name in REQUIREMENTS)
    digest = hashlib.sha256(texts).hexdigest()[:16]
    (folder / f"installed-{digest}-requirements.txt").touch()


def _write_data(folder: Path) -> None:
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "gt_masks").mkdir()
    splits: dict[str, list[str]] = {}
    for seed, (split, count) in enumerate({"train": 12, "val": 4}.items()):
        splits[split] = [f"{split}_{index}" for index in range(count)]
        for sample, (image, labels) in zip(splits[split], draw_pairs(count, seed), strict=True):
            Image.fromarray(image).save(folder / f"JPEGImages/{sample}.png")
            Image.fromarray(labels).save(folder / f"gt_masks/{sample}.png")
    write_listing(folder, splits, TREE.leaf_names)
