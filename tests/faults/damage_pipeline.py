"""Break the pipeline otherwise than by a signal and see what the next runs say and give.

    python tests/faults/damage_pipeline.py [NAME ...] --out table.csv

Full disks and folders that cannot be written need root on Linux: a small tmpfs is mounted, and
the right to write everywhere is given up. Each fault has a fresh workspace. Printed is what
./pipeline.sh said when it met the fault, and whether it gave the results of an unbroken run, byte
for byte, once the remedy was applied. Exits with 1 if it did not, or said nothing clear.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import workspace

# Without the capabilities by which root writes what is read-only.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")
Fault = Callable[[Path], str]
"""Breaks a workspace and runs it; returns what was said of the fault, "" if nothing was."""


def complaint(folder: Path, pattern: str) -> str:
    """The last line of the run's output with `pattern`. Raises AssertionError if there is none."""
    for line in reversed(workspace.log(folder).splitlines()):
        if re.search(pattern, line):
            return line.strip()
    raise AssertionError(f"nothing like {pattern!r} in: {workspace.log(folder)[-600:]}")


def full_disk(megabytes: float) -> Fault:
    def fault(folder: Path) -> str:
        folder.mkdir()
        size = int(megabytes * 2**20)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        workspace.make(folder / "inside")
        status = workspace.run(folder / "inside")
        said = complaint(folder / "inside", "No space left on device|Errno 28|write error")
        assert status, "went on without space"
        subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
        return said

    return fault


def read_only(name: str) -> Fault:
    def fault(folder: Path) -> str:
        workspace.make(folder)
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o555)
        assert workspace.run(folder, *UNPRIVILEGED), "went on without permission"
        said = complaint(folder, r"Permission denied|\[Errno 13\]")
        (folder / name).chmod(0o755)
        return said

    return fault


def dead_worker(module: str, begun: str, sign: str, loader_workers: int) -> Fault:
    """begun: what the stage says once it works. sign: what a worker's command contains."""

    def fault(folder: Path) -> str:
        workspace.make(folder, loader_workers)
        process = workspace.start(folder)
        killed = False
        while process.poll() is None and not killed:
            for stage in workspace.stage_processes(folder):
                words = " ".join(workspace.words_of(stage))
                # Before it works, a library may ask other programs in processes like a worker's.
                if f"-m {module}" in words and begun in workspace.log(folder):
                    for child in stage.children():
                        if sign in " ".join(workspace.words_of(child)):
                            child.kill()
                            killed = True
                            break
            time.sleep(0.01)
        status = process.wait()
        assert killed, "no worker was seen"
        assert status, "went on without a worker"
        return complaint(folder, r"process was ended|worker .*(exited|killed)")

    return fault


def damaged_checkpoint(change: Callable[[bytearray], bytes]) -> Fault:
    def fault(folder: Path) -> str:
        workspace.make(folder)
        process = workspace.start(folder)
        while process.poll() is None and not list(folder.glob(".checkpoints/*/state.pt")):
            time.sleep(0.002)
        workspace.send(9, folder, "all")
        process.wait()
        [state] = folder.glob(".checkpoints/*/state.pt")
        state.write_bytes(change(bytearray(state.read_bytes())))
        assert workspace.run(folder), "went on with a damaged checkpoint"
        said = complaint(folder, r"state\.pt: damaged since it was saved")
        state.unlink()
        return said

    return fault


def flipped(name: str, again: str = "") -> Fault:
    """A byte flipped in a finished workspace. again: results that are then asked for anew."""

    def fault(folder: Path) -> str:
        shutil.copytree(folder.parent / UNBROKEN, folder, symlinks=True)
        with (folder / name).open("r+b") as stream:  # in place, as a disk does it
            data = flip(bytearray(stream.read()))
            stream.seek(0)
            stream.write(data)
        if again:
            shutil.rmtree(folder / again)
        return ""

    return fault


def flip(data: bytearray) -> bytes:
    data[len(data) // 2] ^= 0x10
    return bytes(data)


UNBROKEN = "unbroken"

DISKS = (2, 3, 4, 5)
"""Megabytes: full while rendering, packing, training, at the end; an unbroken run takes 6."""

FAULTS: dict[str, Fault] = {
    **{f"disk of {size} MB": full_disk(size) for size in DISKS},
    **{
        f"{name} is read-only": read_only(name)
        for name in ("data", "models", "results", "results/experts", ".checkpoints")
    },
    "render worker dies": dead_worker(
        "preprocessing_stage.render_people", "rendering train", "spawn_main", 0
    ),
    "loader worker dies": dead_worker("train_stage.train_", "training", "train_stage.train_", 2),
    "checkpoint truncated": damaged_checkpoint(lambda data: bytes(data[:-1000])),
    "checkpoint byte flipped": damaged_checkpoint(flip),
    **{
        f"byte flipped in {name}": flipped(name, again="results/final")
        for name in (
            "data/packed/train.images.bin",
            "data/packed/samples.csv",
            "models/experts/person.safetensors",
            "models/segmenter/body.safetensors",
        )
    },
    "byte flipped in results/final/metrics.json": flipped("results/final/metrics.json"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--out", type=Path, help="CSV with a line a fault")
    parser.add_argument("--stages", nargs="*", default=[], help="bring about these alone")
    arguments = parser.parse_args()
    workspace.wanted = tuple(arguments.stages)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary).resolve()
        if workspace.run(workspace.make(top / UNBROKEN)):
            sys.exit(workspace.log(top / UNBROKEN))
        expected = workspace.contents(top / UNBROKEN)
        for number, name in enumerate(arguments.names or FAULTS):
            folder = top / str(number)
            try:
                said = FAULTS[name](folder)
                inside = folder / "inside" if (folder / "inside").exists() else folder
                status = workspace.run(inside)
                same = workspace.contents(inside) == expected
                outcome = "same results" if same and status == 0 else "FAILED: "
                if outcome.startswith("FAILED"):
                    outcome += f"status {status}, {workspace.log(inside)[-400:]!r}"
            except (AssertionError, OSError, psutil.Error) as error:
                said, outcome = "", f"FAILED: {error}"
            rows.append((name, said.replace(str(folder), "FOLDER"), outcome))
            print(*rows[-1], sep=" | ", flush=True)
            if folder.is_mount():
                subprocess.run(["umount", "-l", folder], check=True)
    if arguments.out:
        with arguments.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("fault", "said", "outcome"), *rows])
    sys.exit(any("FAILED" in outcome for _, _, outcome in rows))


if __name__ == "__main__":
    main()
