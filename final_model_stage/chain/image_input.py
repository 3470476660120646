"""What a segmenter may be called with: an array, a PIL image, or the path of an image file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from final_model_stage.image_reader import DecodeError, decode_image, to_srgb_8_bits

ImageInput = np.ndarray | Image.Image | Path | str


def to_rgb(image: ImageInput) -> tuple[np.ndarray, tuple[int, int]]:
    """RGB (h, w, 3) uint8, upright and on white, and the height and width of the image itself.

    They differ only for a file whose sides are longer than image_reader.WORK_SIDE.
    Raises DecodeError for a file that is no image or a damaged one, opened by PIL or not, and for
    gray values of other than 8 or 16 bits, TypeError for anything else.
    """
    if isinstance(image, str | Path):
        decoded = decode_image(Path(image))
        return decoded.image, decoded.size
    if isinstance(image, Image.Image):
        try:
            image.load()  # PIL reads a file no sooner
        except Exception as error:  # damaged files raise anything
            raise DecodeError(f"damaged or unsupported: {error}") from error
        with suppress(Exception):  # an image with damaged EXIF is still usable
            image = ImageOps.exif_transpose(image)
        image = np.asarray(to_srgb_8_bits(image))
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"image is a {type(image).__name__}; give an RGB array (height, width, 3) of uint8, a "
            "PIL image, or the path of a file"
        )
    height, width = image.shape[:2] if image.ndim > 1 else (0, 0)
    return image, (height, width)
