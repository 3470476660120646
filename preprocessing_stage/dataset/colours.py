"""The colours of a photograph: sRGB by its colour profile, on white where it is transparent.

Training and prediction both read colours here.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from PIL import Image, ImageCms

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in gray, by ITU-R BT.601."""


def srgb_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """From the image's colour profile to sRGB; None for sRGB itself, or one that does not fit."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return None
    with suppress(Exception):  # a damaged profile does not make the image unusable
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return None
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    return None


def rgb(image: Image.Image, to_srgb: ImageCms.ImageCmsTransform | None) -> Image.Image:
    """RGB of an image of 8 bits a channel. to_srgb: what `srgb_transform` gives for it."""
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    elif to_srgb is not None and (converted := ImageCms.applyTransform(image, to_srgb)):
        return converted
    return image.convert("RGB")
