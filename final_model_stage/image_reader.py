"""Images of any origin as bounded arrays: the one place where untrusted files are decoded.

A small file can claim any size. Memory is bounded by `max_pixels`: decoding takes up to 4 bytes a
pixel, in AVIF 8, in WebP and JPEG 2000 up to 20 (measured), and only one large image is decoded at
a time, whatever the number of threads. No side of the result exceeds WORK_SIDE, unless the caller
bounds its pixels instead. Samples of a data set are read by
preprocessing_stage.dataset.dataset_folder, which is stricter.
"""

from __future__ import annotations

import contextlib
import math
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from preprocessing_stage.dataset.colours import rgb, srgb_transform

try:
    from pillow_heif import register_heif_opener
except ImportError:  # the extra heic
    HAS_HEIF = False
else:
    register_heif_opener()
    HAS_HEIF = True

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Recognised by content. Pillow opens more formats, some of which start programs (EPS)."""

MAX_PIXELS = 100_000_000
"""Default limit for an image; the largest sensors of 2026 have about as many pixels."""

WORK_SIDE = 2048
"""Pixels; longer images are scaled down by an integer factor. No segmenter uses a larger input."""

_LARGE = 4 * WORK_SIDE**2
_STRIP = 2**20
# Always the same thread: malloc keeps freed memory per thread, so four threads taking turns would
# hold the memory of four images.
_one_large = ThreadPoolExecutor(1)


class DecodeError(ValueError):
    """What is wrong with a file and how to fix it. The caller adds the file's name."""


@dataclass(frozen=True)
class DecodedImage:
    """An image, upright, on white where it was transparent."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB; sides up to WORK_SIDE, or as many pixels as were asked for."""
    size: tuple[int, int]
    """Height and width of the original, which `image` is equal to or a smaller copy of."""


def decode_image(
    source: Path | bytes, max_pixels: int = MAX_PIXELS, work_pixels: int | None = None
) -> DecodedImage:
    """The first frame of a file, or of a file's content. Raises DecodeError for anything else.

    work_pixels: those of the result, about; None = sides up to WORK_SIDE.
    """
    if isinstance(source, Path):
        check_regular(source)
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit must not be below ours
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=[*FORMATS, *(["HEIF"] if HAS_HEIF else [])]) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise Image.DecompressionBombError
            if pixels <= _LARGE:
                return _decode(image, work_pixels)
            return _one_large.submit(_decode, image, work_pixels).result()
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        if is_heif(source) and not HAS_HEIF:
            raise DecodeError("HEIC needs pip install '.[heic]'") from error
        raise DecodeError(
            f"not an image in a supported format; convert it to one of {', '.join(FORMATS)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise DecodeError(too_large(max_pixels)) from error
    except Exception as error:  # damaged files raise anything from struct.error to MemoryError
        raise DecodeError(f"damaged or unsupported: {error}") from error


def to_srgb_8_bits(image: Image.Image) -> Image.Image:
    """A PIL image as RGB of 8 bits: by its colour profile, on white where it is transparent.

    Raises DecodeError for gray values that are neither of 8 nor of 16 bits.
    """
    return _rgb(_narrow(image), srgb_transform(image))


def too_large(max_pixels: int) -> str:
    """The message for an image or frame that has, or claims to have, more pixels."""
    return f"more than {max_pixels:,} pixels; scale it down or raise the limit"


def is_heif(source: Path | bytes) -> bool:
    """By content: an ISO media file of a HEIF brand."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def check_regular(path: Path) -> None:
    """Raises DecodeError unless `path` is a regular file: reading a pipe might never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise DecodeError(str(getattr(error, "strerror", None) or error)) from error
    if not stat.S_ISREG(mode):
        raise DecodeError("is a folder" if stat.S_ISDIR(mode) else "not a regular file")


def _decode(image: Image.Image, work_pixels: int | None) -> DecodedImage:
    stored = image.size
    factor = _factor(stored, work_pixels)
    # JPEG alone is decoded smaller, by a power of two; by one that divides the factor, so that the
    # rest is an integer too.
    drafted = image.draft(None, _divided(stored, factor & -factor)) is not None
    image.load()
    width, height = stored if drafted else image.size  # load() turns a TIFF upright
    orientation = _orientation(image)
    rest = factor // round(max(stored) / max(image.size))
    small = Image.fromarray(_small_rgb(image, rest))
    image.close()  # frees its pixels before the next large image is decoded
    small.getexif()[ExifTags.Base.Orientation] = orientation
    small = ImageOps.exif_transpose(small)
    if 5 <= orientation <= 8:  # rotated by 90 degrees
        width, height = height, width
    return DecodedImage(np.asarray(small), (height, width))


def _factor(size: tuple[int, int], work_pixels: int | None) -> int:
    """The smallest integer factor that brings the longest side down to WORK_SIDE, or the pixels
    to `work_pixels`."""
    if work_pixels is None:
        return -(-max(size) // WORK_SIDE)
    return math.isqrt((size[0] * size[1] - 1) // work_pixels) + 1


def _divided(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return max(1, size[0] // factor), max(1, size[1] // factor)


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):  # an image with damaged EXIF is still usable
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _small_rgb(image: Image.Image, factor: int) -> np.ndarray:
    """RGB (h / factor, w / factor, 3) uint8; strip by strip, to avoid a large copy."""
    rows = factor * max(1, _STRIP // (image.width * factor))
    image, to_srgb = _narrow(image), srgb_transform(image)
    return np.concatenate([_rgb(strip, to_srgb).reduce(factor) for strip in _strips(image, rows)])


def _strips(image: Image.Image, rows: int) -> Iterator[Image.Image]:
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb(image: Image.Image, to_srgb: ImageCms.ImageCmsTransform | None) -> Image.Image:
    """RGB of 8 bits."""
    return rgb(_eight_bits(image) if image.mode.startswith(("I", "F")) else image, to_srgb)


def _narrow(image: Image.Image) -> Image.Image:
    """8 bits where 32 hold no more, as those of a NumPy array of integers often do."""
    if image.mode == "I":
        low, high = cast(tuple[int, int], image.getextrema())
        if low >= 0 and high <= 0xFF:
            return image.convert("L")
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits as gray of 8."""
    values = np.asarray(image)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise DecodeError(f"gray values of type {image.mode}; save it with 8 or 16 bits a channel")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
