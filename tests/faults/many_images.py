"""Predict a folder of many small pictures and see that memory does not grow with their number.

    python tests/faults/many_images.py --images 20000 --few 1000

A segmenter of random weights and the pictures are made in a temporary folder; `python -m
deploy.predict.__main__` runs on `few` and on all of them, each in a process of its own. Printed
is the most memory that each took. Exits with 1 if that of many is more than 1.3 times that of few,
or if a picture has no label map or no line in the index. Linux, since it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/fixtures")]

from drawn_files import encoded, photograph  # noqa: E402
from tiny_segmenter import tiny_segmenter  # noqa: E402

MAX_GROWTH = 1.3
KINDS = 50
"""Different pictures; the others are copies of them under other names."""

PREDICT = """
import re, sys
from pathlib import Path
from deploy.predict import __main__ as predict
predict.main(sys.argv[1:])
# Unlike what getrusage says, not that of the process which started this one.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])
"""


def write_pictures(folder: Path, count: int) -> Path:
    """`count` pictures of 24 x 32 pixels in folders of a thousand."""
    contents = [encoded(photograph((24, 32), seed), "JPEG") for seed in range(min(KINDS, count))]
    for number in range(count):
        below = folder / f"{number // 1000:03d}"
        if number % 1000 == 0:
            below.mkdir(parents=True)
        (below / f"{number:06d}.jpg").write_bytes(contents[number % len(contents)])
    return folder


def most_memory(folder: Path, out: Path, segmenter: Path) -> int:
    """Bytes that predicting `folder` took at most. Raises RuntimeError if it went wrong."""
    words = [folder, "--out", out, "--segmenter", segmenter, "--precision", "32-true"]
    with tempfile.TemporaryFile("w+") as errors:  # a moving bar, too long for a pipe
        done = subprocess.run(
            [sys.executable, "-c", PREDICT, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        errors.seek(0)
        if done.returncode:
            raise RuntimeError(errors.read()[-2000:])
    found = re.search(r"VmHWM:\s+(\d+)", done.stdout)
    assert found, done.stdout
    return int(found[1]) * 1024


def missing(folder: Path, out: Path) -> set[str]:
    """Pictures without a label map or without a line in the index that is none of an error."""
    with (out / "index.jsonl").open() as file:
        lines = [json.loads(line) for line in file]
    told = [Path(line["source"]).stem for line in lines if "error" not in line]
    assert len(told) == len(set(told)), "a picture has two lines"
    made = {path.stem for path in out.glob("*.png")}
    return {path.stem for path in folder.rglob("*.jpg")} - (made & set(told))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=1000, help="what many are compared with")
    arguments = parser.parse_args()
    most, failed = [], False
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        tiny_segmenter().save(top / "segmenter")
        for count in (arguments.few, arguments.images):
            folder, out = write_pictures(top / f"in_{count}", count), top / f"out_{count}"
            begin = time.monotonic()
            most.append(most_memory(folder, out, top / "segmenter"))
            print(
                f"{count} pictures: {time.monotonic() - begin:.0f} s, {most[-1] / 1e6:.0f} MB",
                flush=True,
            )
            if lost := missing(folder, out):
                print(f"FAILED: {len(lost)} are missing, {min(lost)} among them")
                failed = True
    growth = most[1] / most[0]
    print(f"{'FAILED: ' if growth > MAX_GROWTH else ''}{growth:.2f} times the memory")
    sys.exit(failed or growth > MAX_GROWTH)


if __name__ == "__main__":
    main()
