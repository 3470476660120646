"""Drawn people, on which an export can be verified where there are no photographs.

Segmenters of people find all their classes in them, unlike in noise, which is all background.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZES = ((300, 400), (400, 300), (256, 256), (500, 375), (97, 640), (384, 384), (1200, 900))
"""Height and width of each scene."""

Point = tuple[float, float]
Colour = tuple[int, ...]


def drawn_scenes() -> list[np.ndarray]:
    """One person each, (H, W, 3) uint8; the same at each call."""
    return [_scene(size, np.random.default_rng(seed)) for seed, size in enumerate(SIZES)]


def _scene(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A person before a two-coloured background, lit from the left, with sensor noise."""
    height, width = size
    backdrop = rng.integers(60, 256, (2, 1, 3), np.uint8)
    image = Image.fromarray(backdrop).resize((width, height), Image.Resampling.BILINEAR)
    unit = height * rng.uniform(0.11, 0.14)
    _draw_person(
        ImageDraw.Draw(image),
        (width * rng.uniform(0.4, 0.6), height / 2 - 0.6 * unit),
        unit,
        skin=_colour(rng.uniform(0.8, 1) * np.array((224, 172, 140))),
        shirt=_colour(rng.integers(0, 256, 3)),
        trousers=_colour(rng.integers(0, 120, 3)),
    )
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32)
    light = np.linspace(1.1, 0.75, width)[None, :, None]
    return (pixels * light + rng.normal(0, 5, pixels.shape)).clip(0, 255).astype(np.uint8)


def _draw_person(
    draw: ImageDraw.ImageDraw,
    chest: Point,
    unit: float,
    *,
    skin: Colour,
    shirt: Colour,
    trousers: Colour,
) -> None:
    """chest: x and y in pixels. unit: pixels of about half the width of the shoulders."""

    def at(x: float, y: float) -> Point:
        return chest[0] + x * unit, chest[1] + y * unit

    def limb(start: Point, end: Point, radius: float, colour: Colour) -> None:
        draw.line([at(*start), at(*end)], colour, round(2 * radius * unit))
        for x, y in (start, end):
            draw.ellipse([at(x - radius, y - radius), at(x + radius, y + radius)], colour)

    for side in (-1, 1):
        limb((side * 0.4, 1.2), (side * 0.45, 2.6), 0.33, trousers)
        limb((side * 0.45, 2.6), (side * 0.45, 4), 0.25, trousers)
        limb((side * 0.75, -0.6), (side * 1.1, 0.4), 0.22, shirt)
        limb((side * 1.1, 0.4), (side, 1.4), 0.18, skin)
    draw.rounded_rectangle([at(-0.8, -0.9), at(0.8, 1.5)], 0.3 * unit, shirt)
    draw.rectangle([at(-0.2, -1.2), at(0.2, -0.8)], skin)
    draw.ellipse([at(-0.48, -2.3), at(0.48, -1)], skin)
    draw.pieslice([at(-0.5, -2.35), at(0.5, -1.3)], 180, 360, (40, 30, 20))
    for side in (-1, 1):
        draw.ellipse([at(side * 0.2 - 0.06, -1.75), at(side * 0.2 + 0.06, -1.63)], (20, 20, 20))
    draw.line([at(-0.15, -1.25), at(0.15, -1.25)], (150, 60, 60), max(1, round(0.06 * unit)))


def _colour(values: np.ndarray) -> Colour:
    return tuple(int(value) for value in values)
