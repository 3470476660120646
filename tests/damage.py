"""Damage done to small data sets, and what is said of it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from preprocessing_stage.check_dataset import DatasetError
from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.dataset_folder import DatasetFolder, read_labels
from preprocessing_stage.pack_samples import pack

Damage = Callable[[Path], None]
SHAPE = (24, 32)


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


def without(*ids: int, by: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where(np.isin(labels, ids), np.uint8(by), labels)


def problems_of(folder: Path, tree: ClassTree) -> list[str]:
    """What `pack` says of a folder; it leaves nothing behind if it refuses."""
    out = folder.parent / "packed"
    with pytest.raises(DatasetError) as error:
        pack(DatasetFolder(folder), tree, 32, out)
    assert not list(folder.parent.glob("packed*"))
    assert all(problem in str(error.value) for problem in error.value.problems)
    return error.value.problems
