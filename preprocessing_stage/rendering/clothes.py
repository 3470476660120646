"""What a person wears, and how hair and face look: by region of the body at rest.

Everything is decided per point of the surface from where it lies on the body at rest (metres) and
along its limbs, so that borders of cloth are sharp at any distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from preprocessing_stage.rendering.body import BodyModel, Faces
from preprocessing_stage.rendering.ray_tracing import noise
from preprocessing_stage.rendering.textures import (
    Colour,
    Texture,
    any_colour,
    hair_tone,
    linear,
    plain,
    random_texture,
    skin_tone,
)

_EYE_WHITE, _IRIS, _LIPS = linear("e8e6e1"), linear("2b1d14"), linear("a8434b")


class Outfit(NamedTuple):
    skin: Colour
    hair: Colour
    hair_length: float
    """0 is bald, up to 1 short and painted on the head, above 1 reaching down so far."""
    beard: bool
    hat: Texture | None
    shirt: Texture
    sleeves: float
    """Ends there along the arm; below 0.1 the shirt has none."""
    hem: float
    """Height of the shirt's lower end at rest; the trousers begin at most there."""
    neckline: float
    """Radius of the opening for the neck."""
    trousers: Texture
    trouser_length: float
    """Ends there along the leg."""
    skirt: Texture | None
    skirt_end: float
    """Height of the skirt's lower end at rest."""
    shoes: Texture | None
    shoe_height: float
    gloves: Texture | None
    looseness: tuple[float, float]
    """Metres between skin and shirt, and skin and trousers."""


def random_outfit(rng: np.random.Generator) -> Outfit:
    shirt = random_texture(rng, 0.12)
    trousers = shirt if rng.random() < 0.12 else random_texture(rng, 0.12)
    skirt = None
    if rng.random() < 0.2:  # a dress or a coat goes on from the shirt
        skirt = shirt if rng.random() < 0.5 else random_texture(rng, 0.12)
    skin = skin_tone(rng)
    return Outfit(
        skin=skin,
        hair=hair_tone(rng) if rng.random() < 0.93 else any_colour(rng),
        hair_length=_one_of(rng, {(0, 0): 0.1, (0.2, 1): 0.55, (1.15, 1.5): 0.35}),
        beard=rng.random() < 0.15,
        hat=random_texture(rng, 0.1) if rng.random() < 0.15 else None,
        shirt=shirt if rng.random() < 0.95 else plain(skin),
        sleeves=_one_of(
            rng, {(0.05, 0.05): 0.15, (0.3, 0.9): 0.4, (1.2, 1.6): 0.1, (1.9, 2): 0.35}
        ),
        hem=rng.uniform(-0.12, 0.12),
        neckline=rng.uniform(0.07, 0.2),
        trousers=trousers,
        trouser_length=_one_of(
            rng, {(0.2, 0.3): 0.1, (0.4, 1.1): 0.27, (1.3, 1.8): 0.1, (1.95, 2): 0.53}
        ),
        skirt=skirt,
        skirt_end=rng.uniform(-0.8, -0.2),
        shoes=random_texture(rng, 0.06) if rng.random() < 0.9 else None,
        shoe_height=rng.uniform(1.5, 2.0) if rng.random() < 0.2 else 2.0,
        gloves=random_texture(rng, 0.06) if rng.random() < 0.06 else None,
        looseness=(rng.uniform(0.003, 0.028), rng.uniform(0.003, 0.025)),
    )


def _one_of(rng: np.random.Generator, ranges: dict[tuple[float, float], float]) -> float:
    """A number from one of several ranges, each with its probability."""
    low, high = rng.choice(list(ranges), p=list(ranges.values()))
    return float(rng.uniform(low, high))


class Zones(NamedTuple):
    """What covers the points of a surface, (n,) bool each. Later ones lie on top."""

    trousers: np.ndarray
    shoes: np.ndarray
    gloves: np.ndarray
    shirt: np.ndarray
    hair: np.ndarray
    hat: np.ndarray


def zones(outfit: Outfit, rest: np.ndarray, arm: np.ndarray, leg: np.ndarray) -> Zones:
    """Zones of points at `rest` (n, 3), at `arm` and `leg` (n,) along the limbs."""
    x, y, z = rest.T
    is_arm, is_head = arm > 0, z > 0.585
    opening = np.hypot(1.3 * x, np.hypot(0.6 * y, z - 0.6)) < outfit.neckline
    trunk = ~is_arm & ~is_head & (z > outfit.hem) & (leg < 0.5)
    shirt = ((is_arm & (arm < outfit.sleeves)) | trunk) & ~opening
    # The hairline falls from the forehead to the nape and leaves the temples free.
    scalp = z - 0.795 + 0.75 * (y + 0.085) + 0.4 * np.maximum(0, np.abs(x) - 0.04) * (y < -0.03)
    lips = np.hypot(x / 0.03, (z - 0.668) / 0.013) < 1
    jaw = (z < 0.715 + 0.4 * (y + 0.1)) & (z - 0.2 * y > 0.64) & (y < -0.045) & ~lips
    hair = is_head & (((outfit.hair_length > 0) & (scalp > 0)) | (outfit.beard & jaw))
    return Zones(
        trousers=~is_arm & (z <= max(outfit.hem, 0.1)) & (leg < outfit.trouser_length),
        shoes=(leg > outfit.shoe_height) & (outfit.shoes is not None),
        gloves=(arm > 2.0) & (outfit.gloves is not None),
        shirt=shirt,
        hair=hair,
        hat=is_head & (z > 0.775 + 0.25 * (y + 0.1)) & (outfit.hat is not None),
    )


def thickness(outfit: Outfit, model: BodyModel) -> np.ndarray:
    """How far cloth and hair lift each vertex off the skin, (n,) float32 metres."""
    zone = zones(outfit, model.rest, model.arm, model.leg)
    lift = np.zeros(len(model.rest), np.float32)
    lift[zone.trousers] = outfit.looseness[1]
    lift[zone.shoes] = 0.012
    lift[zone.gloves] = 0.003
    lift[zone.shirt] = outfit.looseness[0]
    lift[zone.hair] = 0.006 + 0.022 * min(outfit.hair_length, 1) * (model.rest[zone.hair, 2] > 0.72)
    lift[zone.hat] = 0.035
    for _ in range(2):  # no steps at the borders
        lift = model.smooth(lift)
    return lift


def worn_faces(outfit: Outfit, model: BodyModel) -> dict[str, Faces]:
    """Faces by surface: `skin` and `eyes` always, `hair` and `skirt` as far as they reach."""
    worn = {"skin": model.faces["skin"], "eyes": model.faces["eyes"]}
    if outfit.hair_length > 1:
        centre = model.rest[model.faces["hair"]].mean(axis=1)
        lowest = 0.62 - 0.9 * (outfit.hair_length - 1)
        is_clear = (centre[:, 1] > -0.075) & (centre[:, 2] > lowest)
        worn["hair"] = model.faces["hair"][is_clear]
    if outfit.skirt is not None:
        lowest = model.rest[model.faces["skirt"], 2].min(axis=1)
        worn["skirt"] = model.faces["skirt"][lowest > outfit.skirt_end]
    return worn


def paint(
    outfit: Outfit, surface: str, rest: np.ndarray, arm: np.ndarray, leg: np.ndarray
) -> np.ndarray:
    """Colours (n, 3) of points of a surface."""
    if surface == "hair":
        return _hair(outfit, rest)
    if surface == "skirt":
        return outfit.skirt(rest)  # type: ignore[misc]
    if surface == "eyes":
        # MakeHuman's eyes have a radius of 12 mm, their pupils point to -y.
        pupil = np.hypot(np.abs(rest[:, 0]) - 0.031, rest[:, 2] - 0.736) < 0.006
        return np.where(pupil[:, None], _IRIS, _EYE_WHITE)
    colours = _face(outfit, rest)
    zone = zones(outfit, rest, arm, leg)
    colours[zone.trousers] = outfit.trousers(rest[zone.trousers])
    for where, texture in ((zone.shoes, outfit.shoes), (zone.gloves, outfit.gloves)):
        if texture is not None:
            colours[where] = texture(rest[where])
    colours[zone.shirt] = outfit.shirt(rest[zone.shirt])
    colours[zone.hair] = _hair(outfit, rest[zone.hair])
    if outfit.hat is not None:
        colours[zone.hat] = outfit.hat(rest[zone.hat])
    return colours


def _hair(outfit: Outfit, rest: np.ndarray) -> np.ndarray:
    strands = 1 + 0.5 * noise(rest * np.array([250, 250, 25], np.float32), 0, 2)
    return outfit.hair * strands[:, None]


def _face(outfit: Outfit, rest: np.ndarray) -> np.ndarray:
    """Skin with lips and brows."""
    x, y, z = rest.T
    colours = np.tile(outfit.skin, (len(rest), 1))
    is_front = y < -0.09
    lips = is_front & (np.hypot(x / 0.026, (z - 0.668) / 0.009) < 1)
    colours[lips] = 0.5 * colours[lips] + 0.5 * _LIPS * outfit.skin.max()
    arch = 0.756 - 3 * (np.abs(x) - 0.033) ** 2
    brows = is_front & (np.abs(np.abs(x) - 0.034) < 0.02) & (np.abs(z - arch) < 0.004)
    colours[brows] = 0.3 * colours[brows] + 0.7 * outfit.hair * 0.5
    return colours
