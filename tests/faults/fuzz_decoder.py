"""Feed damaged and nonsensical pictures to the decoder that opens strangers' files.

    python tests/faults/fuzz_decoder.py --inputs 100000 --seed 0

Inputs are small pictures of every kind that is read, with bytes changed, cut out, put in, doubled
or exchanged with those of another one, and plain noise. Each has to give a picture or a
DecodeError, within seconds and with bounded memory. The inputs run in a process of its own, so that
a crash is seen and the input that caused it is kept.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from final_model_stage.image_reader import FORMATS, DecodeError, decode_image

MAX_PIXELS = 4_000_000
SECONDS = 20
MEMORY = 4 * 2**30
"""Of addresses, most of which are the libraries'."""
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 65536, 100_000]


def corpus() -> list[bytes]:
    """Small pictures: each format in each mode that it takes, some with metadata or frames."""
    rng = np.random.default_rng(0)
    found = []
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "F"):
        picture = Image.fromarray(rng.integers(0, 256, (9, 13, 3), np.uint8)).convert(
            "L" if mode == "I;16" else mode
        )
        if mode == "I;16":
            picture = Image.fromarray(rng.integers(0, 2**16, (9, 13), np.uint16))
        exif = Image.Exif()
        exif[0x0112] = 6
        for name in FORMATS:
            for options in ({}, {"exif": exif}, {"save_all": True, "append_images": [picture]}):
                buffer = io.BytesIO()
                try:
                    picture.save(buffer, name, **options)
                except (OSError, ValueError, KeyError, TypeError, SystemError):
                    continue  # this format has no such mode
                found.append(buffer.getvalue())
    return sorted(set(found), key=len)


def mutated(chance: random.Random, pictures: list[bytes]) -> bytes:
    """One input."""
    if chance.random() < 0.02:
        return chance.choice(pictures)[: chance.randrange(12)] + chance.randbytes(
            chance.randrange(300)
        )
    data = bytearray(chance.choice(pictures))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        place = int(len(data) * chance.random() ** 2)  # headers lie in front
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = chance.randrange(256)
        elif kind == 1 and data:
            data[min(place, len(data) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 2:
            number, order = chance.choice(NUMBERS), chance.choice("<>")
            bytes_of = struct.pack(f"{order}I" if number > 0xFFFF else f"{order}H", number)
            data[place : place + len(bytes_of)] = bytes_of
        elif kind == 3:
            del data[place : place + chance.randrange(1, 40)]
        elif kind == 4:
            data[place:place] = chance.randbytes(chance.randrange(1, 20))
        elif kind == 5:
            data[place:place] = data[place : place + chance.randrange(1, 200)]
        else:
            other = chance.choice(pictures)
            start = chance.randrange(len(other))
            data[place : place + 30] = other[start : start + 30]
    return bytes(data)


def fuzz(
    inputs: int, seed: int, max_pixels: int = MAX_PIXELS, current: mmap.mmap | None = None
) -> Counter[str]:
    """How often each came out: a picture, or the beginning of a refusal. Raises what is neither."""
    chance, pictures, said = random.Random(seed), corpus(), Counter[str]()
    for _ in range(inputs):
        data = mutated(chance, pictures)
        if current is not None:
            current[: 4 + len(data)] = struct.pack("<I", len(data)) + data
            signal.alarm(SECONDS)  # its default is the end of the process: a hang is seen as one
        try:
            picture = decode_image(data, max_pixels)
        except DecodeError as error:
            said[str(error).partition(":")[0].partition(";")[0][:30]] += 1
        else:
            assert picture.image.dtype == np.uint8 and picture.image.shape[2] == 3
            said["a picture"] += 1
    signal.alarm(0)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="what a file may have")
    arguments = parser.parse_args()
    current, begin = mmap.mmap(-1, 2**20), time.monotonic()
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - warnings of the decoders
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        said = fuzz(arguments.inputs, arguments.seed, arguments.max_pixels, current)
        for what, count in said.most_common(12):
            print(f"{count:8} {what}", flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    print(f"{arguments.inputs} inputs from {len(corpus())} pictures, seed {arguments.seed}")
    print(f"{time.monotonic() - begin:.0f} s, {memory:.0f} MB at most, exit status {status}")
    if status:
        [length] = struct.unpack("<I", current[:4])
        Path("crash.bin").write_bytes(current[4 : 4 + length])
        print("the last input is in crash.bin")
    sys.exit(status != 0)


if __name__ == "__main__":
    main()
