"""Let many clients ask the page at once and see that all are answered and no memory is lost.

    python tests/faults/busy_page.py --clients 8 --seconds 120

`python -m deploy.demo` is started with a segmenter of random weights. Each client
uploads small pictures, one after another, and every tenth time opens the page. Printed is how many
answers came, how long the slowest took, and the server's memory after the first 20 seconds (the
first sixth, if there are less than two minutes) and in the end. Exits with 1 if an answer was an
error, or other than the first one to the same picture, or if memory has grown to more than 1.2
times. Linux, since it reads /proc.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/fixtures")]

from drawn_files import encoded, photograph  # noqa: E402
from tiny_segmenter import tiny_segmenter  # noqa: E402

MAX_GROWTH = 1.2
PATIENCE = 120
"""Seconds for an answer, and for the server to start; the machine may have other work."""
KIND = {"content-type": "application/octet-stream"}


@dataclass
class Found:
    """What all clients were told."""

    answers: Counter[int] = field(default_factory=Counter)
    """By status."""
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0
    settled: int = 0
    """Bytes of the server's memory after the beginning, and in the end."""
    last: int = 0

    @property
    def growth(self) -> float:
        return self.last / self.settled


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a page's server that runs until the end of the block."""
    tiny_segmenter(tta=True).save(folder / "segmenter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--segmenter", folder / "segmenter", "--port", str(port)]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.demo.__main__", *words],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + PATIENCE
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the server did not start: {(folder / 'log').read_text()}")
                time.sleep(0.1)
            yield port, process.pid
            said = (folder / "log").read_text()
            if process.poll() is not None or "Traceback" in said:
                raise RuntimeError(f"the server broke: {said[-2000:]}")
        finally:
            process.terminate()
            process.wait()


def keep_busy(port: int, pid: int, clients: int, seconds: float) -> Found:
    found, lock = Found(), threading.Lock()
    pictures = [encoded(photograph((30 + 7 * n, 44), n), "PNG") for n in range(6)]
    first: dict[int, bytes] = {}
    begin = time.monotonic()

    def ask(client: int) -> None:
        turn = client
        while time.monotonic() < begin + seconds:
            turn += 1
            number = None if turn % 10 == 0 else turn % len(pictures)
            asked = time.monotonic()
            try:
                if number is None:
                    status, content = _request(port, "GET", "/")
                else:
                    status, content = _request(port, "POST", "/segment", pictures[number])
            except (OSError, http.client.HTTPException) as error:
                status, content = 0, repr(error).encode()
            with lock:
                found.answers[status] += 1
                found.slowest = max(found.slowest, time.monotonic() - asked)
                if status != 200 or (number is not None and b'"planes"' not in content):
                    found.wrong.append(f"{status}: {content[:200].decode(errors='replace')}")
                elif number is not None and first.setdefault(number, content) != content:
                    found.wrong.append(f"picture {number} was answered in two ways")

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    server = psutil.Process(pid)
    time.sleep(max(0, begin + min(20, seconds / 6) - time.monotonic()))
    found.settled = server.memory_info().rss
    for thread in threads:
        thread.join()
    found.last = server.memory_info().rss
    return found


def _request(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, KIND)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _answers(port: int) -> bool:
    try:
        return _request(port, "GET", "/")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8, help="the server lets 9 in at once")
    parser.add_argument("--seconds", type=float, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, serving(Path(temporary)) as (port, pid):
        found = keep_busy(port, pid, arguments.clients, arguments.seconds)
    print(f"{arguments.clients} clients, {found.answers.total()} answers: {dict(found.answers)}")
    print(f"the slowest after {found.slowest:.1f} s")
    print(f"{found.settled / 1e6:.0f} MB, then {found.last / 1e6:.0f} MB: {found.growth:.2f} times")
    for what in found.wrong[:10]:
        print(f"FAILED: {what}")
    if found.growth > MAX_GROWTH:
        print("FAILED: memory grows")
    sys.exit(bool(found.wrong) or found.growth > MAX_GROWTH)


if __name__ == "__main__":
    main()
