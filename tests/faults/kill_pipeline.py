"""Kill the pipeline at random moments and see that running it again ends as if nothing was.

    python tests/faults/kill_pipeline.py --moments 30 --seed 0 --out table.csv

Each moment has a fresh workspace. ./pipeline.sh is started, gets a signal in a random stage
after a random share of the time that this stage takes, and is started again at once, while what
the signal left over may still run. A line a moment: what was hit, what the second run said, how it
ended. Exits with 1 if it ended otherwise than with the results of the unbroken run, byte for byte.
A run that is broken off at moment 12 goes on with `--first 12 --moments 18` and the same table.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import workspace

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("all", "dvc", "stage", "pipeline.sh")
CLEAR = (
    r"process \d+ is still .*; wait for it or end it"  # ours
    r"|is busy, it is being blocked by|Unable to acquire lock.*"  # DVC's, with the process's id
)
MAX_RUNS = 3


@dataclass(frozen=True)
class Moment:
    number: int
    signal: str
    target: str
    stage: str
    """The one that DVC had started last."""
    seconds: float
    """After the start of the one that was drawn."""
    recorded: int
    """Stages that DVC had noted as done."""
    runs: int
    """Of ./pipeline.sh after the signal."""
    said: str
    """Of the runs but the last one."""
    outcome: str


def kill_once(
    folder: Path, number: int, chance: random.Random, lasts: list[float], expected: dict[str, str]
) -> Moment:
    """One moment in the new workspace `folder`. lasts: seconds of each stage."""
    kind = SIGNALS[number % len(SIGNALS)]
    wanted = TARGETS[number // len(SIGNALS) % len(TARGETS)]
    index = chance.randrange(len(lasts))
    seconds = chance.random() * lasts[index]
    workspace.make(folder)
    first = workspace.start(folder)
    assert workspace.wait_for_stage(first, folder, index), workspace.log(folder)
    time.sleep(seconds)
    target = workspace.send(kind, folder, wanted)
    first.wait()
    stage = workspace.stages_run(folder)[-1]
    done, said, runs, outcome = workspace.recorded(folder), [], 0, "no end"
    while runs < MAX_RUNS:
        runs += 1
        status = workspace.run(folder)
        if again := done & set(workspace.stages_run(folder)):
            outcome = f"FAILED: ran again though finished: {', '.join(sorted(again))}"
            break
        if status == 0:
            same = workspace.contents(folder) == expected
            outcome = "same results" if same else "FAILED: other results"
            break
        problem = re.search(CLEAR, workspace.log(folder))
        if not problem:
            outcome = f"FAILED: {workspace.log(folder)[-300:]!r}"
            break
        said.append(problem[0])
        workspace.wait_for_end(folder)
        done |= workspace.recorded(folder)
    workspace.wait_for_end(folder)
    words = (workspace.name_of(kind), target, stage, round(seconds, 1))
    return Moment(number, *words, len(done), runs, "; ".join(said), outcome)


def time_stages(folder: Path) -> tuple[list[float], dict[str, str]]:
    """Seconds of each stage of an unbroken run, and what it gives."""
    process, starts = workspace.start(folder), []
    while workspace.wait_for_stage(process, folder, len(starts)):
        starts.append(time.monotonic())
    if process.wait():
        sys.exit(workspace.log(folder))
    ends = [*starts[1:], time.monotonic()]
    return [e - s for s, e in zip(starts, ends, strict=True)], workspace.contents(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="number of the first moment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="CSV that gets a line a moment")
    arguments = parser.parse_args()
    # A program that a shell started with `&` ignores SIGINT, and so would the pipeline below it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = False
    with (
        tempfile.TemporaryDirectory() as temporary,
        arguments.out.open("a", newline="") if arguments.out else nullcontext() as table,
    ):
        top = Path(temporary).resolve()
        lasts, expected = time_stages(workspace.make(top / "unbroken"))
        print(f"unbroken: {sum(lasts):.0f} s, {len(expected)} files", flush=True)
        for number in range(arguments.first, arguments.first + arguments.moments):
            chance = random.Random(f"{arguments.seed} {number}")
            moment = kill_once(top / str(number), number, chance, lasts, expected)
            print(*asdict(moment).values(), sep=" | ", flush=True)
            if table:
                rows = csv.DictWriter(table, [f.name for f in fields(Moment)], lineterminator="\n")
                if not table.tell():
                    rows.writeheader()
                rows.writerow(asdict(moment))
                table.flush()
            if moment.outcome.startswith("FAILED"):
                failed = True
            else:
                shutil.rmtree(top / str(number))
    sys.exit(failed)


if __name__ == "__main__":
    main()
