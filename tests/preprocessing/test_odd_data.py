"""Data sets whose files are whole: nothing to learn from is refused, what is only odd is packed."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from damage import (
    SHAPE,
    Damage,
    append,
    as_npy,
    label_map,
    photograph,
    problems_of,
    relabel,
    rename_sample,
    replace,
    resize_pair,
    without,
)
from PIL import Image

from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_labels
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.pack_samples import pack

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
"""No warning of numpy reaches the user."""

COVERAGE: dict[str, tuple[Damage, list[str]]] = {
    "no person in validation": (
        lambda f: relabel(f, np.zeros_like, "val"),
        ["val_id.txt: no sample has a pixel of 'body'"],
    ),
    "no person in training": (
        lambda f: relabel(f, np.zeros_like, "train"),
        ["train_id.txt: no sample has a pixel of 'body'"],
    ),
    "an expert without a pixel in both splits": (
        lambda f: [relabel(f, without(3, 5), split) for split in ("train", "val")] and None,
        [
            "train_id.txt: no sample has a pixel of 'lower_body'",
            "val_id.txt: no sample has a pixel of 'lower_body'",
        ],
    ),
    "two experts without a pixel": (
        lambda f: relabel(f, without(1, 2, 3, 4, 5, 6), "val"),
        ["val_id.txt: no sample has a pixel of 'body'"],
    ),
    "every pixel ignored": (
        lambda f: relabel(f, lambda labels: np.full_like(labels, 255), "val"),
        ["val_id.txt: no sample has a pixel of 'person'"],
    ),
}

HARMLESS: dict[str, Damage] = {
    "nothing": lambda f: None,
    "id files with CRLF, a BOM and no last line end": lambda f: (f / "train_id.txt").write_bytes(
        b"\xef\xbb\xbf" + (f / "train_id.txt").read_bytes().replace(b"\n", b"\r\n").rstrip()
    ),
    "id with spaces": lambda f: rename_sample(f, "a  man on the beach"),
    "id in another script": lambda f: rename_sample(f, "人物_тест_é"),
    "id with a composed accent": lambda f: rename_sample(f, unicodedata.normalize("NFD", "café")),
    "id with dots and a leading dash": lambda f: rename_sample(f, "-rf..v1.2"),
    "id with an emoji": lambda f: rename_sample(f, "\N{DANCER}"),
    "id with quotes and a comma": lambda f: rename_sample(f, "\"x\", 'y'; $HOME"),
    "id of numbers": lambda f: rename_sample(f, "007"),
    "an ending in capitals": lambda f: (
        photograph(f).rename(photograph(f).with_suffix(".JPG")) and None
    ),
    "folder is a link": lambda f: (f.rename(f.parent / "there"), f.symlink_to("there"))[0] and None,
    "link inside the folder": lambda f: (
        (
            photograph(f).rename(f / "here.jpg"),
            photograph(f).symlink_to("../here.jpg"),
        )[0]
        and None
    ),
    "files that no list names": lambda f: (f / "JPEGImages/Thumbs.db").write_bytes(b"x") and None,
    "1 x 1": lambda f: resize_pair(f, 1, 1),
    "20,000 x 2": lambda f: resize_pair(f, 20_000, 2),
    "1 x 3,000": lambda f: resize_pair(f, 1, 3000),
    "gray photograph": lambda f: Image.new("L", SHAPE[::-1]).save(photograph(f)),
    "CMYK photograph": lambda f: Image.new("CMYK", SHAPE[::-1]).save(photograph(f)),
    "transparent photograph": lambda f: Image.new("RGBA", SHAPE[::-1]).save(photograph(f), "PNG"),
    "palette photograph": lambda f: Image.new("P", SHAPE[::-1]).save(photograph(f), "PNG"),
    "photograph with a preview": lambda f: Image.new("RGB", SHAPE[::-1]).save(
        photograph(f), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))]
    ),
    "label map in Fortran order": lambda f: (
        as_npy(f, np.asfortranarray(read_labels(label_map(f)))) and None
    ),
    "label map all background": lambda f: relabel(f, np.zeros_like),
    "label map all ignored": lambda f: relabel(f, lambda labels: np.full_like(labels, 255)),
    "a class that never occurs": lambda f: (
        [relabel(f, without(6), split) for split in ("train", "val")] and None
    ),
    "a line for what is ignored": lambda f: append(f / "classes.txt", "255: void\n"),
    "another name of the background": lambda f: replace(f / "classes.txt", "0: background", "0: -"),
}


@pytest.mark.parametrize("damage", COVERAGE)
def test_experts_without_anything_to_learn_from_are_named_before_training(damage, folder, tree):
    break_it, messages = COVERAGE[damage]
    break_it(folder.path)
    problems = problems_of(folder.path, tree)
    assert len(problems) == len(messages)
    assert all(p.startswith(m) for p, m in zip(problems, messages, strict=True))


@pytest.mark.parametrize("oddity", HARMLESS)
def test_what_is_odd_but_right_is_packed(oddity, folder, tree, tmp_path):
    HARMLESS[oddity](folder.path)
    pack(folder := DatasetFolder(folder.path), tree, 32, tmp_path / "packed")
    for split in ("train", "val"):
        packed = PackedSplit(split, tmp_path / "packed")
        assert [row.id for row in packed.rows] == folder.ids(split)
        for index, row in enumerate(packed.rows):
            assert packed.image(index).shape == (*row.size, 3)
            assert max(row.size) <= 32
            assert packed.labels(index).shape == row.size
