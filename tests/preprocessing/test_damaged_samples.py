"""Every damage of a photograph or a label map is found before training and named.

A row of the table is one damage of a small folder, the file that is named and what is said of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from damage import (
    SHAPE,
    Damage,
    animate,
    as_npy,
    broken_exif,
    broken_npy_header,
    cut,
    flip_byte,
    label_map,
    npy_header,
    npz_called_npy,
    photograph,
    problems_of,
    relabel,
    save_png,
    text_bomb,
    with_ids,
)
from drawn_files import png
from PIL import Image

from preprocessing_stage.dataset.check_dataset import read_pair
from preprocessing_stage.dataset.dataset_folder import DatasetFolder

IMAGE, LABELS = "JPEGImages/train_000.jpg: ", "gt_masks/train_000.png: "
ARRAY = "gt_masks/train_000.npy: "
SAMPLES: dict[str, tuple[Damage, str, str]] = {
    "truncated JPEG": (lambda f: cut(photograph(f), 0.95), IMAGE, "is truncated"),
    "photograph is text": (
        lambda f: photograph(f).write_text("no picture"),
        IMAGE,
        "cannot identify image file",
    ),
    "photograph is empty": (lambda f: photograph(f).write_bytes(b""), IMAGE, "cannot identify"),
    "photograph is a GIF": (
        lambda f: Image.new("P", SHAPE[::-1]).save(photograph(f), "GIF"),
        IMAGE,
        "cannot identify",
    ),
    "photograph is PostScript": (
        lambda f: Image.new("RGB", SHAPE[::-1]).save(photograph(f), "EPS"),
        IMAGE,
        "cannot identify",
    ),
    "photograph of 16 bits": (
        lambda f: save_png(photograph(f), np.full(SHAPE, 9000, np.uint16)),
        IMAGE,
        "picture mode is I;16, needs 8 bits a channel",
    ),
    "animated photograph": (
        lambda f: animate(photograph(f), "RGB"),
        IMAGE,
        "picture is animated, needs a still",
    ),
    "photograph with a byte flipped in its header": (
        lambda f: flip_byte(photograph(f), 0),
        IMAGE,
        "cannot identify",
    ),
    "broken EXIF": (
        lambda f: broken_exif(photograph(f)),
        IMAGE,
        "required argument is not an integer",
    ),
    "photograph of more pixels than are read": (
        lambda f: photograph(f).write_bytes(png(64_001, 1000, 8, 0, b"")),
        IMAGE,
        "is 64001 x 1000, more than 64,000,000 pixels; scale it down",
    ),
    "decompression bomb": (
        lambda f: photograph(f).write_bytes(png(2**30, 2**30, 8, 0, b"")),
        IMAGE,
        "decompression bomb",
    ),
    "bomb in a comment": (lambda f: text_bomb(photograph(f)), IMAGE, "too large"),
    "label map is a JPEG": (
        lambda f: Image.new("L", SHAPE[::-1]).save(label_map(f), "JPEG"),
        LABELS,
        "cannot identify",
    ),
    "label map is empty": (lambda f: label_map(f).write_bytes(b""), LABELS, "cannot identify"),
    "label map of 16 bits": (
        lambda f: save_png(label_map(f), np.ones(SHAPE, np.uint16)),
        LABELS,
        "picture mode is I;16, needs 8-bit palette or gray",
    ),
    "label map in RGB": (
        lambda f: save_png(label_map(f), np.ones((*SHAPE, 3), np.uint8)),
        LABELS,
        "picture mode is RGB, needs 8-bit palette or gray",
    ),
    "label map with transparency": (
        lambda f: Image.new("LA", SHAPE[::-1]).save(label_map(f)),
        LABELS,
        "picture mode is LA, needs",
    ),
    "label map of 1 bit": (
        lambda f: save_png(label_map(f), np.ones(SHAPE, bool)),
        LABELS,
        "picture mode is 1, needs",
    ),
    "label map of 4 bits": (  # Pillow makes id 17 of 1
        lambda f: label_map(f).write_bytes(png(32, 24, 4, 0, (b"\0" + b"\x11" * 16) * 24)),
        LABELS,
        "gray of fewer than 8 bits, needs 8",
    ),
    "animated label map": (
        lambda f: animate(label_map(f), "L"),
        LABELS,
        "picture is animated, needs a still",
    ),
    "truncated label map": (lambda f: cut(label_map(f), 0.6), LABELS, "runcated"),
    "label map with a byte flipped in its pixels": (
        lambda f: flip_byte(label_map(f), 0.95),
        LABELS,
        "",
    ),
    "label map of more pixels than it has": (
        lambda f: label_map(f).write_bytes(png(8000, 8000, 8, 0, b"\0" * 100)),
        LABELS,
        "runcated",
    ),
    "label map of more pixels than are read": (
        lambda f: label_map(f).write_bytes(png(8000, 8001, 8, 0, b"")),
        LABELS,
        "is 8000 x 8001, more than 64,000,000 pixels",
    ),
    "pickled label map": (
        lambda f: as_npy(f, np.array([{"run": "me"}], object)),
        ARRAY,
        "Array can't be memory-mapped: Python objects in dtype",
    ),
    "label map of int64": (
        lambda f: as_npy(f, np.zeros(SHAPE, np.int64)),
        ARRAY,
        "array is int64 (24, 32), needs uint8 (height, width)",
    ),
    "label map of float": (
        lambda f: as_npy(f, np.zeros(SHAPE)),
        ARRAY,
        "array is float64 (24, 32), needs uint8",
    ),
    "label map of int8": (
        lambda f: as_npy(f, np.zeros(SHAPE, np.int8)),
        ARRAY,
        "array is int8 (24, 32), needs uint8",
    ),
    "label map of bool": (
        lambda f: as_npy(f, np.zeros(SHAPE, bool)),
        ARRAY,
        "array is bool (24, 32), needs uint8",
    ),
    "label map of records": (
        lambda f: as_npy(f, np.zeros(SHAPE, [("id", "u1")])),
        ARRAY,
        "needs uint8 (height, width)",
    ),
    "label map with channels": (
        lambda f: as_npy(f, np.zeros((*SHAPE, 1), np.uint8)),
        ARRAY,
        "array is uint8 (24, 32, 1), needs uint8 (height, width)",
    ),
    "label map of one number": (
        lambda f: as_npy(f, np.uint8(1)),
        ARRAY,
        "array is uint8 (), needs uint8 (height, width)",
    ),
    "label map without pixels": (lambda f: as_npy(f, np.zeros((0, 32), np.uint8)), ARRAY, "32)"),
    "truncated npy": (lambda f: cut(as_npy(f), 0.6), ARRAY, "mmap length is greater"),
    "npy that claims a terabyte": (
        lambda f: npy_header(f, "(1000000, 1000000)"),
        ARRAY,
        "mmap length is greater than file size",
    ),
    "npy of a negative size": (lambda f: npy_header(f, "(-24, 32)"), ARRAY, ""),
    "npy header that is a program": (
        lambda f: npy_header(f, "__import__('os')"),
        ARRAY,
        "malformed node or string",
    ),
    "empty npy": (lambda f: as_npy(f).write_bytes(b""), ARRAY, "EOF"),
    "npz called npy": (npz_called_npy, ARRAY, "magic string"),
    "broken npy header": (broken_npy_header, ARRAY, ""),
    "sizes differ": (
        lambda f: relabel(f, lambda labels: labels[:-1]),
        "train_000: ",
        "image is 32 x 24, label map 32 x 23; make their sizes equal",
    ),
    "sizes are exchanged": (
        lambda f: relabel(f, lambda labels: labels.T),
        "train_000: ",
        "image is 32 x 24, label map 24 x 32; make their sizes equal",
    ),
    "unknown ids": (
        lambda f: relabel(f, lambda labels: with_ids(labels, 7, 254, 255, 7)),
        LABELS,
        "has ids [7, 254] that are not in the tree",
    ),
}


@pytest.mark.parametrize("damage", SAMPLES)
def test_each_damage_of_a_file_has_its_own_message(damage, folder, tree):
    break_it, start, message = SAMPLES[damage]
    break_it(folder.path)
    [problem] = problems_of(folder.path, tree)
    assert problem.startswith(start)
    assert message in problem
    assert "; " in problem, "says what to do"


def test_all_damages_of_files_come_at_once(folder, tree):
    for sample in ("train_001", "train_003", "val_001"):
        cut(photograph(folder.path, sample), 0.5)
        cut(label_map(folder.path, sample.replace("1", "0").replace("3", "2")), 0.5)
    names = [problem.partition(":")[0] for problem in problems_of(folder.path, tree)]
    assert names == [
        "gt_masks/train_000.png",
        "JPEGImages/train_001.jpg",
        "gt_masks/train_002.png",
        "JPEGImages/train_003.jpg",
        "gt_masks/val_000.png",
        "JPEGImages/val_001.jpg",
    ]


def test_a_pickle_is_never_run(folder, tree, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    as_npy(folder.path, np.array([Touch()], object))
    assert isinstance(read_pair(DatasetFolder(folder.path), "train_000", tree), str)
    assert not (tmp_path / "touched").exists()
