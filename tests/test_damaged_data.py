"""Every damage of a data set is found before training and named, or it does no harm.

A row of a table is one damage of a small folder and what is said of it. All of them go through
`pack`, the stage before any training.
"""

from __future__ import annotations

import io
import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from preprocessing_stage.check_dataset import DatasetError, listing_problems, read_pair
from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.dataset_folder import DatasetFolder, read_labels
from preprocessing_stage.pack_samples import pack
from preprocessing_stage.packed_samples import PackedSplit

Damage = Callable[[Path], None]
SHAPE = (24, 32)


@pytest.fixture
def folder(make_dataset, tmp_path) -> DatasetFolder:
    return make_dataset(tmp_path / "data", train=4)


def photograph(folder: Path, sample: str = "train_000") -> Path:
    return folder / "JPEGImages" / f"{sample}.jpg"


def label_map(folder: Path, sample: str = "train_000") -> Path:
    return folder / "gt_masks" / f"{sample}.png"


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def recode(path: Path, encoding: str, extra: str = "") -> None:
    path.write_bytes((path.read_text() + extra).encode(encoding))


def link_out(path: Path) -> None:
    outside = path.parents[2] / f"outside{path.suffix}" if path.suffix else path.parents[1] / "out"
    path.rename(outside)
    path.symlink_to(outside)


def instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip_byte(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0xFF
    path.write_bytes(data)


def save_png(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path, "PNG")


def as_npy(folder: Path, array: np.ndarray | None = None) -> Path:
    """The label map, or another array, as .npy instead of .png."""
    png = label_map(folder)
    np.save(png.with_suffix(".npy"), read_labels(png) if array is None else array)
    png.unlink()
    return png.with_suffix(".npy")


def npy_header(folder: Path, shape: str, kind: str = "|u1") -> None:
    """A .npy of 24 x 32 bytes that says it had another shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    as_npy(folder).write_bytes(header + bytes(24 * 32))


def npz_called_npy(folder: Path) -> None:
    packed = io.BytesIO()
    np.savez(packed, labels=read_labels(label_map(folder)))
    as_npy(folder).write_bytes(packed.getvalue())


def broken_npy_header(folder: Path) -> None:
    npy = as_npy(folder)
    npy.write_bytes(npy.read_bytes().replace(b")", b" ", 1))


def broken_exif(path: Path) -> None:
    """A photograph to be turned, with text for the unit of its resolution."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 2
    Image.new("RGB", SHAPE).save(path, exif=exif)
    number, text = b"\x01\x28\x00\x03", b"\x01\x28\x00\x02"
    assert number in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(number, text))


def relabel(folder: Path, change: Callable[[np.ndarray], np.ndarray], split: str = "") -> None:
    """Change the label map of train_000, or those of a whole split."""
    for sample in DatasetFolder(folder).ids(split) if split else ["train_000"]:
        path = label_map(folder, sample)
        Image.fromarray(change(read_labels(path))).save(path)


def with_ids(labels: np.ndarray, *ids: int) -> np.ndarray:
    labels.flat[: len(ids)] = ids
    return labels


def png_of(width: int, height: int, data: bytes, *, bits: int = 8, kind: int = 0) -> bytes:
    """A PNG written by hand; `data` are its rows, each with a filter byte before it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def animate(path: Path, mode: str) -> None:
    frames = [Image.new(mode, SHAPE[::-1], value) for value in (0, 1)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def text_bomb(path: Path) -> None:
    """A small photograph with a comment that unpacks to 100 MB."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", " " * 100_000_000, zip=True)
    Image.new("RGB", SHAPE[::-1]).save(path, "PNG", pnginfo=info)


def resize_pair(folder: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), "red").save(photograph(folder))
    Image.new("L", (width, height), 2).save(label_map(folder))


def rename_sample(folder: Path, name: str) -> None:
    """The first training sample under another id, in the list as in the folders."""
    for path in (photograph(folder), label_map(folder)):
        path.rename(path.with_name(name + path.suffix))
    replace(folder / "train_id.txt", "train_000", name)


# --- what shows in the lists: damage, what is said of it ----------------------------------------

LISTS: dict[str, tuple[Damage, str]] = {
    "no photograph": (
        lambda f: photograph(f).unlink(),
        "JPEGImages/train_000: no file with one of the endings .jpg .jpeg .png; "
        "add it or take 'train_000' out of train_id.txt",
    ),
    "no label map": (
        lambda f: label_map(f, "val_001").unlink(),
        "gt_masks/val_001: no file with one of the endings .png .npy; "
        "add it or take 'val_001' out of val_id.txt",
    ),
    "another ending": (
        lambda f: photograph(f, "train_001").rename(f / "JPEGImages/train_001.gif"),
        "JPEGImages/train_001: no file with one of the endings",
    ),
    "two photographs of one id": (
        lambda f: photograph(f, "train_002").with_suffix(".png").touch(),
        "JPEGImages/train_002: there are train_002.jpg and train_002.png; keep one",
    ),
    "two label maps of one id": (
        lambda f: np.save(f / "gt_masks/train_003.npy", np.zeros(SHAPE, np.uint8)),
        "gt_masks/train_003: there are train_003.png and train_003.npy; keep one",
    ),
    "photograph outside": (
        lambda f: link_out(photograph(f, "val_000")),
        "JPEGImages/val_000.jpg: leads out of the data set folder",
    ),
    "label map outside": (
        lambda f: link_out(label_map(f, "val_000")),
        "gt_masks/val_000.png: leads out of the data set folder",
    ),
    "photograph links to itself": (
        lambda f: instead(photograph(f, "val_001"), lambda p: p.symlink_to(p)),
        "JPEGImages/val_001.jpg: is no file; replace it",
    ),
    "label map is a folder": (
        lambda f: instead(label_map(f, "train_001"), Path.mkdir),
        "gt_masks/train_001.png: is no file; replace it",
    ),
    "label map is a pipe": (
        lambda f: instead(label_map(f, "train_002"), os.mkfifo),
        "gt_masks/train_002.png: is no file; replace it",
    ),
    "id listed twice": (
        lambda f: append(f / "train_id.txt", "train_001\n"),
        "train_id.txt: 'train_001' stands there 2 times; keep one",
    ),
    "splits overlap": (
        lambda f: append(f / "val_id.txt", "train_003\n"),
        "'train_003' is in train_id.txt and in val_id.txt; keep one",
    ),
    "id is the parent folder": (
        lambda f: append(f / "train_id.txt", "..\n"),
        "train_id.txt: '..' is no id; needs a file name without its ending",
    ),
    "id leads elsewhere": (
        lambda f: append(f / "val_id.txt", "../gt_masks/val_000\n"),
        "val_id.txt: '../gt_masks/val_000' is no id",
    ),
    "id is an absolute path": (
        lambda f: append(f / "val_id.txt", "/etc/passwd\n"),
        "val_id.txt: '/etc/passwd' is no id",
    ),
    "id with a backslash": (
        lambda f: append(f / "val_id.txt", "..\\secret\n"),
        "val_id.txt: '..\\\\secret' is no id",
    ),
    "id with a zero byte": (
        lambda f: append(f / "val_id.txt", "val\0\n"),
        "val_id.txt: 'val\\x00' is no id",
    ),
    "id with its ending": (
        lambda f: append(f / "val_id.txt", "val_000.jpg\n"),
        "gt_masks/val_000.jpg: no file with one of the endings",
    ),
    "id longer than a name": (
        lambda f: append(f / "val_id.txt", "x" * 5000 + "\n"),
        "xxx: no file with one of the endings",
    ),
    "other class name": (
        lambda f: replace(f / "classes.txt", "4: head", "4: face"),
        "classes.txt: id 4 is 'face', in the tree 'head'; make them agree",
    ),
    "class is missing": (
        lambda f: replace(f / "classes.txt", "6: up_hand\n", ""),
        "classes.txt: id 6 is 'absent', in the tree 'up_hand'",
    ),
    "class is unknown": (
        lambda f: append(f / "classes.txt", "9: wing\n"),
        "classes.txt: id 9 ('wing') is not in the tree; add it there or label it 255",
    ),
}
# Two of these say the same twice: of the photograph and of the label map.
TWICE = {"id with its ending", "id longer than a name"}

# These hide the rest of their file, so they come alone.
FILES: dict[str, tuple[Damage, str]] = {
    "no id file": (lambda f: (f / "val_id.txt").unlink(), "val_id.txt: [Errno 2] No such file"),
    "id file is a folder": (
        lambda f: instead(f / "val_id.txt", Path.mkdir),
        "val_id.txt: [Errno 21] Is a directory",
    ),
    "id file outside": (
        lambda f: link_out(f / "val_id.txt"),
        "val_id.txt: leads out of the data set folder",
    ),
    "empty id file": (
        lambda f: (f / "val_id.txt").write_text("\n \n"),
        "val_id.txt: is empty; needs one id a line",
    ),
    "id file is Latin-1": (
        lambda f: recode(f / "train_id.txt", "latin-1", "café\n"),
        "train_id.txt: 'utf-8' codec can't decode",
    ),
    "id file is UTF-16": (
        lambda f: recode(f / "train_id.txt", "utf-16"),
        "train_id.txt: 'utf-8' codec can't decode",
    ),
    "no classes.txt": (
        lambda f: (f / "classes.txt").unlink(),
        "classes.txt: [Errno 2] No such file",
    ),
    "classes.txt outside": (
        lambda f: link_out(f / "classes.txt"),
        "classes.txt: leads out of the data set folder",
    ),
    "line of another form": (
        lambda f: append(f / "classes.txt", "seven: wing\n"),
        "'seven: wing' is not `<id>: <name>`",
    ),
    "class id below zero": (
        lambda f: append(f / "classes.txt", "-1: wing\n"),
        "'-1: wing' is not `<id>: <name>`",
    ),
    "class id twice": (
        lambda f: append(f / "classes.txt", "1: low_hand\n"),
        "id 1 stands there twice",
    ),
}

# --- what shows in the photograph or the label map of train_000 ---------------------------------

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
        lambda f: photograph(f).write_bytes(png_of(64_001, 1000, b"")),
        IMAGE,
        "is 64001 x 1000, more than 64,000,000 pixels; scale it down",
    ),
    "decompression bomb": (
        lambda f: photograph(f).write_bytes(png_of(2**30, 2**30, b"")),
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
        lambda f: label_map(f).write_bytes(png_of(32, 24, (b"\0" + b"\x11" * 16) * 24, bits=4)),
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
        lambda f: label_map(f).write_bytes(png_of(8000, 8000, b"\0" * 100)),
        LABELS,
        "runcated",
    ),
    "label map of more pixels than are read": (
        lambda f: label_map(f).write_bytes(png_of(8000, 8001, b"")),
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

# --- what shows in all samples together ---------------------------------------------------------


def without(*ids: int, by: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where(np.isin(labels, ids), np.uint8(by), labels)


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

# --- odd, but right -----------------------------------------------------------------------------

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
    "another name of the background": lambda f: replace(f / "classes.txt", "0: background", "0: -"),
}

TABLES = (LISTS, FILES, SAMPLES, COVERAGE, HARMLESS)


def problems_of(folder: Path, tree: ClassTree) -> list[str]:
    """What `pack` says of a folder; it leaves nothing behind if it refuses."""
    out = folder.parent / "packed"
    with pytest.raises(DatasetError) as error:
        pack(DatasetFolder(folder), tree, 32, out)
    assert not list(folder.parent.glob("packed*"))
    assert all(problem in str(error.value) for problem in error.value.problems)
    return error.value.problems


def test_sixty_kinds_of_damage_and_more():
    names = [name for table in TABLES for name in table]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("damage", LISTS | FILES)
def test_each_damage_of_the_lists_has_its_own_message(damage, folder, tree):
    break_it, message = (LISTS | FILES)[damage]
    break_it(folder.path)
    problems = problems_of(folder.path, tree)
    assert len(problems) == 1 + (damage in TWICE)
    assert any(message in problem for problem in problems)


def test_all_damages_of_the_lists_come_at_once(folder, tree):
    for break_it, _ in LISTS.values():
        break_it(folder.path)
    problems = listing_problems(DatasetFolder(folder.path), tree)
    for damage, (_, message) in LISTS.items():
        assert any(message in problem for problem in problems), damage


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


def test_a_pickle_is_never_run(folder, tree, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    as_npy(folder.path, np.array([Touch()], object))
    assert isinstance(read_pair(DatasetFolder(folder.path), "train_000", tree), str)
    assert not (tmp_path / "touched").exists()


def test_a_missing_folder_is_named_with_the_param_that_names_it(tmp_path, tree):
    [problem] = problems_of(tmp_path / "none", tree)
    assert problem == f"{tmp_path / 'none'}: no such folder; set data.folder in params.yaml"


def test_an_error_shows_twenty_problems_and_counts_all():
    error = DatasetError(DatasetFolder("people"), [f"problem {i}" for i in range(23)])
    first, *shown = str(error).splitlines()
    assert first == "data set people: 23 problems"
    assert len(shown) == 21
    assert shown[-1].strip() == "... and 3 more"
    assert len(error.problems) == 23
