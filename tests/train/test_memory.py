"""What a training frees stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from pathlib import Path
from train_stage.memory import keep_freed_memory

def in_heap(tensor):
    maps = Path("/proc/self/maps").read_text().splitlines()
    heap = next(line for line in maps if "[heap]" in line)
    first, last = (int(end, 16) for end in heap.split()[0].split("-"))
    return first <= tensor.data_ptr() < last

large = 2 ** 25  # bytes, above which glibc maps whatever it has learnt
before = in_heap(torch.ones(large))
keep_freed_memory()
print(before, in_heap(torch.ones(large)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_large_tensors_lie_in_the_heap():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
