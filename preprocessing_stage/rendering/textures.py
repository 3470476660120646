"""Colours in space: cloth, skin, walls, grass. Each is a function of points.

Colours are linear, 0 to 1; points are metres.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from preprocessing_stage.rendering.ray_tracing import noise

Colour = np.ndarray  # (3,) float32
Texture = Callable[[np.ndarray], np.ndarray]
"""Points (n, 3) to colours (n, 3)."""

_GAMMA = 2.2

# The ten tones of the Monk Skin Tone Scale (https://skintone.google), sRGB.
_SKIN = [
    *("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96"),
    *("a07e56", "825c43", "604134", "3a312a", "292420"),
]
_HAIR = [
    *("0e0b09", "1c1410", "3b2417", "5a3825", "8d5a34"),
    *("b98d5a", "d8b988", "a4491f", "8c8783", "d9d5cf"),
]
_PATTERNS = {"plain": 0.45, "stripes": 0.17, "checks": 0.1, "spots": 0.08, "clouds": 0.2}


def linear(srgb: str) -> Colour:
    """Linear colour of six hexadecimal digits."""
    return (np.frombuffer(bytes.fromhex(srgb), np.uint8) / np.float32(255)) ** _GAMMA


def encoded(colours: np.ndarray) -> np.ndarray:
    """Linear colours as they are stored in image files, 0 to 255, not rounded."""
    result: np.ndarray = 255 * np.clip(colours, 0, 1) ** (1 / _GAMMA)
    return result


def skin_tone(rng: np.random.Generator) -> Colour:
    return 0.8 * _between(rng, _SKIN)


def hair_tone(rng: np.random.Generator) -> Colour:
    return _between(rng, _HAIR)


def any_colour(rng: np.random.Generator) -> Colour:
    """Of cloth or of a thing: in a sixth of the cases that of somebody's skin, often gray."""
    kind = rng.random()
    if kind < 0.16:
        return skin_tone(rng)
    if kind < 0.36:
        return np.full(3, rng.beta(0.6, 1.2), np.float32).clip(0.01, 0.9)
    hue, saturation, value = rng.beta((1, 1.1, 1.5), (1, 2, 1.1))
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) ** _GAMMA


def plain(colour: Colour) -> Texture:
    return lambda points: np.broadcast_to(colour, (len(points), 3))


def random_texture(rng: np.random.Generator, scale: float) -> Texture:
    """Stripes, checks, spots, clouds or one colour, and some unevenness; `scale` is their size."""
    colours = np.stack([any_colour(rng) for _ in range(3)])
    if rng.random() < 0.6:  # tones of one colour
        colours = 0.2 * colours + 0.8 * colours[0] * rng.uniform(0.4, 1.6, (3, 1))
    colours = colours.astype(np.float32)
    kind = rng.choice(list(_PATTERNS), p=list(_PATTERNS.values()))
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    if rng.random() < 0.7:
        axes = np.eye(3, dtype=np.float32)[rng.permutation([0, 2, 1])]
    period = scale * rng.uniform(0.3, 1.2)
    duty, uneven, seed = rng.uniform(0.2, 0.7), rng.uniform(0.05, 0.45), int(rng.integers(1 << 30))
    warp = rng.uniform(0, 0.25)

    def texture(points: np.ndarray) -> np.ndarray:
        cloud = noise(points / (0.7 * scale), seed, 4)
        if kind == "plain":
            choice = np.zeros(len(points), int)
        elif kind == "clouds":
            choice = np.digitize(cloud, [-0.15, 0.2])
        else:
            phase = (points @ axes.T / period + warp * cloud[:, None]) % 1
            inside = phase < duty
            if kind == "stripes":
                choice = inside[:, 0].astype(int)
            elif kind == "checks":
                choice = inside[:, 0].astype(int) + inside[:, 1]
            else:
                choice = (np.linalg.norm(phase - 0.5, axis=1) < 0.6 * duty + 0.1).astype(int)
        fine = noise(points / (0.12 * scale), seed + 1, 2)
        result: np.ndarray = colours[choice] * (1 + uneven * (0.6 * cloud + 0.6 * fine))[
            :, None
        ].clip(0.2)
        return result

    return texture


def _between(rng: np.random.Generator, tones: list[str]) -> Colour:
    """A colour between two neighbouring tones, slightly off."""
    place = rng.uniform(0, len(tones) - 1)
    low, high = linear(tones[int(place)]), linear(tones[min(int(place) + 1, len(tones) - 1)])
    tone = (low + (place % 1) * (high - low)) * rng.normal(1, 0.05, 3)
    result: np.ndarray = tone.astype(np.float32).clip(0, 1)
    return result
