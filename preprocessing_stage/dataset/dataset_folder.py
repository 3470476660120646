"""A data set on disk in the Pascal-Part layout, and how its files are read.

JPEGImages/<id>.jpg      photograph (also .jpeg, .png, and all of them in capitals)
gt_masks/<id>.png        label map: 8-bit palette or gray, the values are leaf ids
gt_masks/<id>.npy        the same as a uint8 array (H, W)
train_id.txt val_id.txt  one id a line
classes.txt              `<id>: <name>` a line
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.colours import rgb, srgb_transform

SPLITS = ("train", "val")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LABEL_SUFFIXES = (".png", ".npy")
MAX_PIXELS = 64_000_000
"""Of a photograph or label map. A file of some kilobytes can name a size that fills the memory."""


class DatasetFolder:
    """Where the files of a data set lie. Reads no photograph until asked to."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def ids(self, split: str) -> list[str]:
        """Ids of a split in the order of its file; any line ends, blank lines are skipped."""
        text = (self.path / f"{split}_id.txt").read_text(encoding="utf-8-sig")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def class_names(self) -> dict[int, str]:
        """Leaf id -> name from `classes.txt`. Raises ValueError on other lines or a repeated id."""
        names = {}
        for line in (self.path / "classes.txt").read_text(encoding="utf-8-sig").splitlines():
            if not line.strip():
                continue
            match = re.fullmatch(r"\s*(\d+)\s*:\s*(\S.*?)\s*", line)
            if match is None:
                raise ValueError(f"{self.path / 'classes.txt'}: {line!r} is not `<id>: <name>`")
            if int(match[1]) in names:
                raise ValueError(f"{self.path / 'classes.txt'}: id {match[1]} stands there twice")
            names[int(match[1])] = match[2]
        return names

    def image_path(self, sample: str) -> Path:
        """The photograph of a sample. Raises FileNotFoundError that says what is looked for."""
        return _first(self.image_paths(sample), self.path / "JPEGImages" / sample, IMAGE_SUFFIXES)

    def label_path(self, sample: str) -> Path:
        """The label map of a sample. Raises FileNotFoundError that says what is looked for."""
        return _first(self.label_paths(sample), self.path / "gt_masks" / sample, LABEL_SUFFIXES)

    def image_paths(self, sample: str) -> list[Path]:
        """All files that could be the photograph of a sample."""
        return _find(self._images, self.path / "JPEGImages", sample, IMAGE_SUFFIXES)

    def label_paths(self, sample: str) -> list[Path]:
        """All files that could be the label map of a sample."""
        return _find(self._labels, self.path / "gt_masks", sample, LABEL_SUFFIXES)

    def alike(self, kind: str, sample: str) -> list[str]:
        """Names in JPEGImages or gt_masks that differ from the id in ending, case or accents alone.

        An accent may be a letter of its own, or in one with another."""
        present = self._images if kind == "JPEGImages" else self._labels
        wanted = {_folded(sample), _folded(Path(sample).stem)}
        return sorted(
            name for name in present if {_folded(name), _folded(Path(name).stem)} & wanted
        )

    @cached_property
    def _images(self) -> set[str]:
        return _names(self.path / "JPEGImages")

    @cached_property
    def _labels(self) -> set[str]:
        return _names(self.path / "gt_masks")


def read_image(path: Path | str) -> np.ndarray:
    """Photograph as sRGB, (H, W, 3) uint8, turned upright by its EXIF orientation, on white.

    Raises ValueError if it is too large, animated, or gray of more than 8 bits, which Pillow would
    turn white; OSError and others if it is no whole JPEG or PNG.
    """
    # Named formats: Pillow would run Ghostscript for one that calls itself PostScript.
    with Image.open(path, formats=("JPEG", "PNG")) as image:
        _check_picture(image)
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"picture mode is {image.mode}, needs 8 bits a channel")
        return np.asarray(rgb(ImageOps.exif_transpose(image), srgb_transform(image)))


def exif_orientation(path: Path) -> int:
    """1 upright, 2 to 8 turned or mirrored; from 5 on, height and width change places. Values that
    mean nothing, which Pillow ignores as well, are 1."""
    with Image.open(path, formats=("JPEG", "PNG")) as image:
        value = image.getexif().get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in range(1, 9) else 1


def read_labels(path: Path | str) -> np.ndarray:
    """Label map (H, W) uint8. Raises ValueError for any other kind of array or picture.

    A .npy is mapped before it is read: no pickle is opened, no more memory taken than it has.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        labels: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    else:
        with Image.open(path, formats=("PNG",)) as image:
            _check_picture(image)
            if image.mode not in ("P", "L"):
                raise ValueError(f"picture mode is {image.mode}, needs 8-bit palette or gray")
            # Pillow spreads gray of 2 and 4 bits over 0..255, which changes the ids.
            if str(image.tile[0].args).startswith("L;"):
                raise ValueError("picture is gray of fewer than 8 bits, needs 8")
            labels = np.asarray(image)
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"array is {labels.dtype} {labels.shape}, needs uint8 (height, width)")
    if labels.size > MAX_PIXELS:
        raise ValueError(_too_large(labels.shape[1], labels.shape[0]))
    if not labels.size:
        raise ValueError(f"array is {labels.shape}, has no pixel")
    return np.array(labels)


def write_labels(path: Path, labels: np.ndarray, palette: np.ndarray) -> None:
    """Label map (H, W) uint8 as an indexed PNG with the colours of `palette` (256, 3) uint8."""
    image = Image.fromarray(labels, mode="L")
    image.putpalette(palette.tobytes())
    with atomic_write(path, "wb") as file:
        image.save(file, "PNG", optimize=True)


def write_listing(folder: Path, splits: Mapping[str, list[str]], names: Mapping[int, str]) -> None:
    """The id files of the splits and `classes.txt`."""
    for split, ids in splits.items():
        with atomic_write(folder / f"{split}_id.txt", encoding="utf-8") as file:
            file.writelines(f"{sample}\n" for sample in ids)
    with atomic_write(folder / "classes.txt", encoding="utf-8") as file:
        file.writelines(f"{i}: {names[i]}\n" for i in sorted(names))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _find(present: set[str], folder: Path, sample: str, suffixes: tuple[str, ...]) -> list[Path]:
    names = [sample + ending for suffix in suffixes for ending in (suffix, suffix.upper())]
    return [folder / name for name in names if name in present]


def _first(found: list[Path], wanted: Path, suffixes: tuple[str, ...]) -> Path:
    if not found:
        raise FileNotFoundError(f"{wanted}: no file with one of the endings {' '.join(suffixes)}")
    return found[0]


def _check_picture(image: Image.Image) -> None:
    """Raises ValueError for what the header tells already; no pixel is decoded yet."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large(image.width, image.height))
    # The second picture of a phone's JPEG is a preview of the first, that of a PNG an animation.
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise ValueError("picture is animated, needs a still")


def _too_large(width: int, height: int) -> str:
    return f"is {width} x {height}, more than {MAX_PIXELS:,} pixels; scale it down"
