"""Pictures from strangers, as bounded arrays: the one place where unchecked files are decoded.

A file says itself how much memory it wants. Here it gets what a picture of `max_pixels` takes
while it is decoded: up to 4 bytes a pixel, in AVIF 8, in WebP and JPEG 2000 up to 20 (measured),
and one large picture at a time whatever the number of threads. What comes out has no side above
WORK_SIDE. Videos: decode_video.py.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from preprocessing_stage.dataset.dataset_folder import on_white

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened, by content. Pillow knows more, some of which start programs (EPS)."""

MAX_PIXELS = 100_000_000
"""Of a picture, unless the caller says otherwise; cameras of 2026 take up to that many."""

WORK_SIDE = 2048
"""Pixels; longer pictures are scaled down by a whole number. No segmenter looks at more."""

_LARGE = 4 * WORK_SIDE**2
_STRIP = 2**20
# Always the same thread: malloc keeps what a thread freed for that thread, so that four in turn
# held what four pictures take.
_one_large = ThreadPoolExecutor(1)


class DecodeError(ValueError):
    """What is wrong with a file and what to do; who knows the file's name adds it."""


@dataclass(frozen=True)
class Picture:
    """A picture, upright, on white where it was transparent."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB; sides up to WORK_SIDE."""
    size: tuple[int, int]
    """Height and width of the picture itself, of which `image` is a smaller copy or all."""


def decode_picture(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """The first frame of a file or of its content. Raises DecodeError, whatever is in it."""
    if isinstance(source, Path):
        check_regular(source)
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit is not to undercut ours
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise Image.DecompressionBombError
            if pixels <= _LARGE:
                return _decode(image)
            return _one_large.submit(_decode, image).result()
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(
            f"no picture of a kind that is read; convert it to one of {', '.join(FORMATS)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise DecodeError(too_large(max_pixels)) from error
    except Exception as error:  # damaged files raise anything from struct.error to MemoryError
        raise DecodeError(f"damaged, or of a kind that is not read: {error}") from error


def too_large(max_pixels: int) -> str:
    """What to tell of a picture that claims more pixels."""
    return f"more than {max_pixels:,} pixels; scale it down or raise the limit"


def check_regular(path: Path) -> None:
    """Raises DecodeError unless `path` is a file: a pipe would never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise DecodeError(str(getattr(error, "strerror", None) or error)) from error
    if not stat.S_ISREG(mode):
        raise DecodeError("no file" if stat.S_ISDIR(mode) else "no regular file")


def _decode(image: Image.Image) -> Picture:
    stored = image.size
    factor = _factor(stored)
    drafted = image.draft(None, (stored[0] // factor, stored[1] // factor)) is not None  # JPEG
    image.load()
    width, height = stored if drafted else image.size  # a TIFF is upright from here on
    orientation = _orientation(image)
    small = Image.fromarray(_small_rgb(image, _factor(image.size)))
    image.close()  # frees its pixels before the next large picture takes as many
    small.getexif()[ExifTags.Base.Orientation] = orientation
    small = ImageOps.exif_transpose(small)
    if 5 <= orientation <= 8:  # turned by a quarter
        width, height = height, width
    return Picture(np.asarray(small), (height, width))


def _factor(size: tuple[int, int]) -> int:
    """The smallest whole number by which a picture is to be scaled down."""
    return -(-max(size) // WORK_SIDE)


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # damaged EXIF does not make the picture useless
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _small_rgb(image: Image.Image, factor: int) -> np.ndarray:
    """RGB (h / factor, w / factor, 3) uint8; strip by strip, so that no large copy is made."""
    rows = factor * max(1, _STRIP // (image.width * factor))
    return np.concatenate([_rgb(strip).reduce(factor) for strip in _strips(image, rows)])


def _strips(image: Image.Image, rows: int) -> Iterator[Image.Image]:
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of 8 bits."""
    return on_white(_eight_bits(image) if image.mode.startswith(("I", "F")) else image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits as gray of 8."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise DecodeError(f"gray values of kind {image.mode}; save it with 8 or 16 bits a channel")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
