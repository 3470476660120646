"""Check every sample and pack it once into flat uint8 files that all experts map into memory.

`python -m preprocessing_stage.pack_samples` prints what is allowed but seldom meant, also into
results/data/findings.csv. Writes data/packed/<split>.images.bin and <split>.labels.bin (the
samples one after another, row by row), samples.csv (a line a sample: packed size, own size, pixels
of each leaf id, chroma) and checksums.sha256. One pass over each file; memory grows by 5 kB with
each sample.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from preprocessing_stage.dataset.atomic_write import atomic_write, replace_folder, write_table
from preprocessing_stage.dataset.check_dataset import (
    DatasetError,
    Pair,
    coverage_problems,
    histogram,
    read_pairs,
)
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.dataset.file_lock import file_lock
from preprocessing_stage.dataset.packed_samples import CHECKSUMS
from preprocessing_stage.dataset.plausibility import Signs, findings, signs
from preprocessing_stage.dataset.shrink import nearest, shrink, shrunken_size
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import FINDINGS, PACKED, STATISTICS


@dataclass(frozen=True)
class Sample:
    """A packed sample and what the statistics need to know about its original."""

    id: str
    image: np.ndarray
    """(h, w, 3) uint8, longest side at most `longest_side`."""
    labels: np.ndarray
    """(h, w) uint8."""
    own_size: tuple[int, int]
    """Height and width of the original in pixels."""
    pixels: np.ndarray
    """(256,) int64: pixels of each label in the original."""
    chroma: tuple[int, int]
    """Maximum and 99th percentile of max(R, G, B) - min(R, G, B) over the original."""


def prepare(pair: Pair, longest_side: int) -> Sample:
    """Scale a pair down and count what the statistics need."""
    chroma = histogram(chroma_of(pair.image))
    return Sample(
        id=pair.id,
        image=shrink(pair.image, longest_side),
        labels=nearest(pair.labels, shrunken_size(pair.labels.shape, longest_side)),
        own_size=pair.labels.shape,
        pixels=pair.pixels,
        chroma=(
            int(np.flatnonzero(chroma)[-1]),
            int(np.searchsorted(chroma.cumsum(), 0.99 * pair.labels.size)),
        ),
    )


def chroma_of(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the largest minus the smallest of R, G, B, of an image (H, W, 3) uint8."""
    red, green, blue = np.moveaxis(image, 2, 0)  # `image.max(axis=2)` takes 20 times as long
    largest = np.maximum(np.maximum(red, green), blue)
    result: np.ndarray = largest - np.minimum(np.minimum(red, green), blue)
    return result


def pack(folder: DatasetFolder, tree: ClassTree, longest_side: int, out: Path) -> list[str]:
    """Pack both splits into the new folder `out`; what is allowed but seldom meant.

    Raises DatasetError with all problems.
    """
    if problems := listing_problems(folder, tree):
        raise DatasetError(folder, problems)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    ids = [*tree.leaf_names]
    packed_pixels = {split: np.zeros(256, np.int64) for split in SPLITS}
    seen: dict[str, list[tuple[str, Signs]]] = {split: [] for split in SPLITS}

    def read(pair: Pair) -> tuple[Sample, Signs]:
        return prepare(pair, longest_side), signs(folder, pair)

    with (part / "samples.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(
            ["split", "id", "height", "width", "own_height", "own_width"]
            + ["chroma_max", "chroma_p99"]
            + [f"pixels_{i}" for i in ids]
        )
        for split in SPLITS:
            names = folder.ids(split)
            pairs = read_pairs(folder, names, tree, read)
            progress = tqdm(pairs, f"packing {split}", len(names), unit="sample")
            with (
                (part / f"{split}.images.bin").open("wb") as images,
                (part / f"{split}.labels.bin").open("wb") as labels,
            ):
                for found in progress:
                    if isinstance(found, str):
                        problems.append(found)
                        continue
                    sample, noted = found
                    images.write(sample.image.tobytes())
                    labels.write(sample.labels.tobytes())
                    packed_pixels[split] += histogram(sample.labels)
                    seen[split].append((sample.id, noted))
                    rows.writerow(
                        [split, sample.id, *sample.labels.shape, *sample.own_size, *sample.chroma]
                        + [int(sample.pixels[i]) for i in ids]
                    )
    problems = problems or coverage_problems(tree, packed_pixels)
    if problems:
        shutil.rmtree(part)
        raise DatasetError(folder, problems)
    write_checksums(part)
    replace_folder(part, out)
    return findings(tree, seen)


def write_checksums(folder: Path) -> None:
    """SHA-256 of each file, in the form that `sha256sum --check` reads: what training ran on."""
    lines = []
    for path in sorted(set(folder.iterdir()) - {folder / CHECKSUMS}):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    with atomic_write(folder / CHECKSUMS) as file:
        file.writelines(lines)


@exits_on_user_error()
def main() -> None:
    params = load_preprocessing_params()
    folder = DatasetFolder(params.data.folder)
    with file_lock(PACKED.with_suffix(".lock"), f"packing {folder.path}"):
        found = pack(folder, params.class_tree, params.data.longest_side, PACKED)
    STATISTICS.mkdir(parents=True, exist_ok=True)
    for finding in found:
        print(f"WARNING: {finding}")
    write_table(FINDINGS, ["finding"], [[finding] for finding in found])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
