"""Draw the small data set that the pipeline runs on as it comes: jointed paper people.

Writes data/drawn_people in the layout of `dataset_folder`. Clothes, skin and surroundings take
their colours from the same ranges, limbs bend at random, and people are cut off by the frame,
hidden by each other and by things: telling the parts apart takes shape and context.

Shapes are polygons of complex numbers, x + iy with y downwards, so that turning, scaling and
moving a figure is one multiplication and one addition.
"""

from __future__ import annotations

import colorsys
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from tqdm import tqdm

from preprocessing_stage.dataset_folder import SPLITS, write_labels, write_listing
from preprocessing_stage.palette import palette
from preprocessing_stage.params import DrawPeopleParams, load_params

OUT = Path("data/drawn_people")

PARTS = ["background", "low_hand", "torso", "low_leg", "head", "up_leg", "up_hand"]
BACKGROUND, LOW_HAND, TORSO, LOW_LEG, HEAD, UP_LEG, UP_HAND = range(7)
GRAY_SHARE = 0.02
"""Share of samples without colour, as among the photographs of Pascal-Part."""
NEAR_SHARE = 0.45
"""Share of samples in which the frame cuts people off above their feet."""

_FINE = 4  # canvas pixels per image pixel along each axis; the reduction smooths the edges
_LIGHT = np.exp(-0.7j * np.pi)  # from above, left
_CIRCLE = np.exp(1j * np.linspace(0, 2 * np.pi, 24, endpoint=False))
_ARC = np.exp(1j * np.linspace(-np.pi / 2, np.pi / 2, 8))
_DARK_SKIN, _LIGHT_SKIN = np.array([[84.0, 50, 34], [255, 222, 196]])
_DARK_HAIR, _LIGHT_HAIR = np.array([[25.0, 18, 15], [250, 215, 140]])
_EYE = np.array([240.0, 240, 236])

Colour = np.ndarray  # (3,) float64, 0 to 255; more is clipped when drawn
Sides = Sequence[tuple[float, float]]  # (y, x) of the right side of a symmetric figure, downwards


class Shape(NamedTuple):
    """A filled polygon that belongs to one part."""

    part: int
    points: np.ndarray
    """(n,) complex128; in the image x and y run from 0 to 1."""
    colour: Colour


class Cloth(NamedTuple):
    """What a limb wears: `reach` 0 is nothing, 1 ends at the elbow or knee, 2 at the end."""

    colour: Colour
    reach: float


class Person(NamedTuple):
    """Build and clothes. Lengths are shares of the height of the body."""

    thickness: float
    shoulder: float
    hip: float
    skin: Colour
    hair: Colour
    hands: Colour
    shoes: Colour
    shirt: Colour
    stripes: Colour | None
    sleeves: Cloth
    trousers: Cloth


def draw_sample(seed: int, split: str, index: int, size: int) -> tuple[Image.Image, np.ndarray]:
    """Image (size x size, mode RGB, or L if without colour) and label map (size, size) uint8."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    canvas = _background(rng, _FINE * size)
    labels = Image.new("L", canvas.size, BACKGROUND)
    _draw(_scene(rng), canvas, labels)
    image, ids = canvas.reduce(_FINE), np.asarray(labels)[_FINE // 2 :: _FINE, _FINE // 2 :: _FINE]
    if rng.random() < 0.5:  # light from the right
        image, ids = ImageOps.mirror(image), ids[:, ::-1]
    return _photograph(rng, image), ids


def write_sample(
    sample: tuple[str, int], params: DrawPeopleParams, colours: np.ndarray, folder: Path
) -> str:
    """Draw the sample (split, index), write its two files into `folder` and return its id."""
    split, index = sample
    name = f"{split}_{index:05d}"
    image, labels = draw_sample(params.seed, split, index, params.size)
    image.save(folder / "JPEGImages" / f"{name}.jpg", quality=90)
    write_labels(folder / "gt_masks" / f"{name}.png", labels, colours)
    return name


def draw_people(
    params: DrawPeopleParams, colours: np.ndarray, out: Path, workers: int | None = None
) -> None:
    """Write the data set as the new folder `out`; `colours` is a palette (256, 3) uint8.

    A sample depends on the seed, its split and its index alone, so more of them keep the earlier.
    """
    unfinished = out.with_name(out.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder in ("JPEGImages", "gt_masks"):
        (unfinished / folder).mkdir(parents=True)
    write = partial(write_sample, params=params, colours=colours, folder=unfinished)
    ids = {}
    with ProcessPoolExecutor(workers) as pool:
        for split, count in zip(SPLITS, (params.train, params.val), strict=True):
            names = pool.map(write, [(split, index) for index in range(count)], chunksize=16)
            ids[split] = list(tqdm(names, f"drawing {split}", count, unit="sample"))
    write_listing(unfinished, ids, dict(enumerate(PARTS)))
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)


def _draw(shapes: Iterable[Shape], canvas: Image.Image, labels: Image.Image | None = None) -> None:
    pen = ImageDraw.Draw(canvas)
    label_pen = ImageDraw.Draw(labels) if labels else None
    for shape in shapes:
        corners = (shape.points * canvas.width).view(np.float64).tolist()
        pen.polygon(corners, tuple(shape.colour.clip(0, 255).astype(int).tolist()))
        if label_pen:
            label_pen.polygon(corners, shape.part)


def _photograph(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """The picture under uneven light, through a poor camera; now and then without colour."""
    gain = Image.fromarray(rng.normal(1, 0.15, (3, 3)).astype(np.float32))
    gains = np.asarray(gain.resize(image.size, Image.Resampling.BICUBIC))
    pixels = np.asarray(image, np.float32) * gains[..., None] * rng.normal(1, 0.07, 3)
    pixels += rng.normal(0, 10)
    pixels += rng.uniform(2, 10) * rng.standard_normal(pixels.shape, np.float32)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    return image.convert("L") if rng.random() < GRAY_SHARE else image


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Things in front of a gradient, more or less out of focus."""
    corners = np.array([[_colour(rng) for _ in range(2)] for _ in range(2)], np.uint8)
    half = size // 2, size // 2  # out of focus anyway, and drawn in half the time
    canvas = Image.fromarray(corners).resize(half, Image.Resampling.BILINEAR)
    for _ in range(rng.integers(15, 41)):
        _draw(_thing(rng), canvas)
    coarse = canvas.reduce(int(rng.integers(1, 6)))
    return coarse.resize((size, size), Image.Resampling.BILINEAR)


def _thing(rng: np.random.Generator) -> list[Shape]:
    """A rod, box, blob or striped board, anywhere."""
    centre, turn = complex(*rng.uniform(0, 1, 2)), np.exp(1j * rng.uniform(0, np.pi))
    radius, slim = 0.02 + 0.25 * rng.beta(1.3, 3), rng.uniform(0.3, 1)
    colour, kind = _colour(rng), rng.choice(["rod", "box", "blob", "board"])
    if kind == "rod":
        thickness, reach = rng.uniform(0.008, 0.05), 2 * radius * turn
        ends = [centre - reach, centre + reach]
        return _limb(BACKGROUND, ends, [thickness, slim * thickness], colour)
    if kind == "board":
        sides = [(-1.0, slim), (1.0, slim)]
        board = [Shape(BACKGROUND, _between(sides, -1, 1), colour)]
        board += _stripes(BACKGROUND, sides, int(rng.integers(2, 8)), _colour(rng))
        return _placed(board, centre, radius * turn)
    outline = _CIRCLE if kind == "blob" else _CIRCLE[3::6] * rng.uniform(0.6, 1.2, 4)
    points = outline.real + 1j * slim * outline.imag
    return _solid(BACKGROUND, centre + radius * turn * points, colour)


def _scene(rng: np.random.Generator) -> list[Shape]:
    """One to three people, the far ones behind the near ones, and at times a thing in front."""
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.33, 0.17]))
    columns = (rng.permutation(count) + rng.uniform(0.2, 0.8, count)) / count
    is_near = rng.random() < NEAR_SHARE
    heights = np.sort(rng.uniform(0.95 if is_near else 0.35, 1.3, count))
    shapes = []
    for column, height in zip(columns, heights, strict=True):
        is_lying = rng.random() < 0.05
        tilt = np.exp(1j * (rng.uniform(-1.6, 1.6) if is_lying else rng.normal(0, 0.12)))
        top = rng.uniform(0.1, 0.5) if is_near else rng.uniform(-0.06, max(0.06, 1 - 0.9 * height))
        hips = column + 1j * (top + 0.56 * height)
        shapes += _placed(_body(rng), hips, height * tilt)
    return shapes + _thing(rng) if rng.random() < 0.3 else shapes


def _body(rng: np.random.Generator) -> list[Shape]:
    """A person from back to front: the middle of the hips at 0, about 1 high."""
    person = _person(rng)
    legs = _leg(rng, person, -1) + _leg(rng, person, 1)
    behind: list[Shape] = []
    in_front: list[Shape] = []
    for side in (-1, 1):
        (in_front if rng.random() < 0.7 else behind).extend(_arm(rng, person, side))
    neck, size = rng.normal(0, 0.008) - 0.335j, rng.uniform(1.1, 1.5)
    if rng.random() < 0.4:
        behind += _solid(HEAD, neck + size * (0.066 * _CIRCLE - 0.04j), 0.9 * person.hair)
    return legs + behind + _torso(person, neck) + _placed(_head(rng, person), neck, size) + in_front


def _person(rng: np.random.Generator) -> Person:
    thickness, skin, shirt = rng.uniform(0.85, 1.2), _skin(rng), _colour(rng)
    natural_hair = _DARK_HAIR + rng.random() ** 2 * (_LIGHT_HAIR - _DARK_HAIR)
    trousers = _colour(rng) if rng.random() < 0.9 else shirt
    return Person(
        thickness=thickness,
        shoulder=thickness * rng.uniform(0.085, 0.105),
        hip=thickness * rng.uniform(0.075, 0.095),
        skin=skin,
        hair=natural_hair if rng.random() < 0.8 else _colour(rng),
        hands=skin if rng.random() < 0.92 else _colour(rng),
        shoes=_colour(rng),
        shirt=shirt,
        stripes=_colour(rng) if rng.random() < 0.3 else None,
        sleeves=Cloth(shirt, rng.choice([0, 0.5, 0.7, 1.4, 1.9])),
        trousers=Cloth(trousers, rng.choice([0.3, 0.8, 1.3, 1.9, 1.9])),
    )


def _leg(rng: np.random.Generator, person: Person, side: int) -> list[Shape]:
    thigh = rng.normal(0.12, 0.2) if rng.random() < 0.75 else rng.uniform(0.3, 1.4)
    shin = thigh * rng.uniform(0.2, 1) + rng.normal(0, 0.15)
    lengths = [rng.uniform(0.17, 0.25), rng.uniform(0.19, 0.23), 0.055]
    joints = _joints(0.5 * person.hip, lengths, [thigh, shin, shin + rng.uniform(0.2, 1.4)], side)
    radii = person.thickness * np.array([0.05, 0.036, 0.022])
    foot = _limb(LOW_LEG, joints[2:], [0.023, 0.018], person.shoes)
    return foot + _dressed((UP_LEG, LOW_LEG), joints[:3], radii, person.skin, person.trousers)


def _arm(rng: np.random.Generator, person: Person, side: int) -> list[Shape]:
    upper = rng.normal(0.5, 0.5)
    lower = upper + rng.choice([-1, 1]) * rng.gamma(2, 0.45)
    lengths = [rng.uniform(0.12, 0.17), rng.uniform(0.12, 0.15), 0.035]
    shoulder = 0.85 * person.shoulder - 0.27j
    joints = _joints(shoulder, lengths, [upper, lower, lower + rng.normal(0, 0.3)], side)
    radii = person.thickness * np.array([0.034, 0.026, 0.018])
    hand = _limb(LOW_HAND, joints[2:], [0.018, 0.021], person.hands)
    return hand + _dressed((UP_HAND, LOW_HAND), joints[:3], radii, person.skin, person.sleeves)


def _joints(start: complex, lengths: list[float], turns: list[float], side: int) -> np.ndarray:
    """Joints (4,) complex128 of a limb that turns outward from straight down; side is -1 or 1."""
    joints = start + np.cumsum([0, *(1j * np.exp(-1j * np.array(turns)) * lengths)])
    return joints if side > 0 else -joints.conj()


def _dressed(
    parts: tuple[int, int], joints: np.ndarray, radii: np.ndarray, skin: Colour, cloth: Cloth
) -> list[Shape]:
    """Both halves of a limb with joints (3,) and radii (3,), the upper half in front."""
    shapes = []
    for half in (1, 0):
        ends, thickness = joints[half : half + 2], radii[half : half + 2]
        shapes += _limb(parts[half], ends, thickness, skin)
        if cloth.reach > half:
            share = np.array([0, min(1.0, cloth.reach - half)])
            ends = ends[0] + share * (ends[1] - ends[0])
            thickness = 1.12 * (thickness[0] + share * (thickness[1] - thickness[0]))
            shapes += _limb(parts[half], ends, thickness, cloth.colour)
    return shapes


def _torso(person: Person, neck: complex) -> list[Shape]:
    outline = [(-0.315, 0.3), (-0.295, 0.75), (-0.26, 1.0), (-0.12, 0.8)]
    sides = [(y, width * person.shoulder) for y, width in outline]
    sides += [(0.0, person.hip), (0.035, 0.9 * person.hip)]
    shapes = _limb(TORSO, [-0.29j, neck], [0.03, 0.027], person.skin)
    shapes += _solid(TORSO, _between(sides, -0.01, 0.035), person.trousers.colour)
    shapes += _solid(TORSO, _between(sides, -0.315, 0), person.shirt)
    if person.stripes is not None:
        shapes += _stripes(TORSO, sides[1:-1], 5, person.stripes)
    return shapes


def _head(rng: np.random.Generator, person: Person) -> list[Shape]:
    """Head with hair, at times a hat, and a face unless seen from behind; the neck at 0."""
    skin, hair = person.skin, person.hair
    look = rng.normal(0, 0.012)  # how far the face is turned aside

    def oval(x: float, y: float, width: float, height: float, colour: Colour) -> Shape:
        points = x + width * _CIRCLE.real + 1j * (y + height * _CIRCLE.imag)
        return Shape(HEAD, points, colour)

    shapes = [oval(side * 0.05 + look / 2, -0.05, 0.01, 0.015, skin) for side in (-1, 1)]
    shapes += _solid(HEAD, oval(0, -0.055, 0.05, 0.066, skin).points, skin)
    if rng.random() < 0.12:
        shapes.append(oval(0, -0.063, 0.055, 0.064, hair))
    else:
        for x in (look - 0.019, look + 0.019):
            shapes.append(oval(x, -0.053, 0.009, 0.007, _EYE))
            shapes.append(oval(x + look / 8, -0.052, 0.005, 0.006, 0.15 * _EYE))
            shapes.append(oval(x, -0.069, 0.011, 0.0025, 0.7 * hair))
        shapes.append(oval(1.2 * look, -0.039, 0.005, 0.009, 0.8 * skin))
        lips = _ARC.imag + 1j * _ARC.real, _ARC.imag[::-1] + 0.4j * _ARC.real[::-1]
        smile = look - 0.029j + 0.02 * np.concatenate(lips)
        shapes.append(Shape(HEAD, smile, 0.5 * skin))
    crown = 0.054 * _ARC.imag - 0.074j * _ARC.real
    if rng.random() < 0.88:
        shapes.append(Shape(HEAD, np.append(crown - 0.067j, look - 0.1j), hair))
    if rng.random() < 0.15:
        shapes.append(Shape(HEAD, crown - 0.08j, person.shoes))
        shapes += _limb(HEAD, [-0.06 - 0.085j, 0.06 - 0.085j], [0.01, 0.01], person.shoes)
    return shapes


def _limb(part: int, ends: ArrayLike, radii: ArrayLike, colour: Colour) -> list[Shape]:
    """A tapered rod with round ends, brighter towards the light."""
    ends, radii = np.asarray(ends), np.asarray(radii)
    along = (ends[1] - ends[0]) / abs(ends[1] - ends[0])

    def rod(share: float) -> np.ndarray:
        start, stop = ends + 0.3 * (1 - share) * radii * _LIGHT
        back, front = share * radii * along
        return np.concatenate([stop + front * _ARC, start - back * _ARC])

    shades = zip((1, 0.7, 0.3), (0.8, 1, 1.1), strict=True)
    return [Shape(part, rod(share), factor * colour) for share, factor in shades]


def _solid(part: int, points: np.ndarray, colour: Colour) -> list[Shape]:
    """A polygon with a rim that is broad and dark away from the light."""
    middle = points.mean()
    reach = points - middle
    inner = middle + 0.82 * reach + 0.1 * abs(reach).min() * _LIGHT
    return [Shape(part, points, 0.8 * colour), Shape(part, inner, colour)]


def _stripes(part: int, sides: Sides, count: int, colour: Colour) -> list[Shape]:
    edges = np.linspace(sides[0][0], sides[-1][0], 2 * count + 1)[1:]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [Shape(part, _between(sides, top, bottom), colour) for top, bottom in pairs]


def _between(sides: Sides, top: float, bottom: float) -> np.ndarray:
    """Outline of the part of a symmetric figure from y = top to bottom."""
    y = np.linspace(top, bottom, 12)
    right = np.interp(y, [y for y, _ in sides], [x for _, x in sides]) + 1j * y
    return np.concatenate([right, -right[::-1].conj()])


def _placed(shapes: Iterable[Shape], origin: complex, scale: complex) -> list[Shape]:
    """Shapes scaled and turned by `scale`, then moved to `origin`."""
    return [shape._replace(points=origin + scale * shape.points) for shape in shapes]


def _skin(rng: np.random.Generator) -> Colour:
    return _DARK_SKIN + rng.random() * (_LIGHT_SKIN - _DARK_SKIN)


def _colour(rng: np.random.Generator) -> Colour:
    """Colour of cloth or of a thing, in a fifth of cases that of somebody's skin."""
    if rng.random() < 0.2:
        return _skin(rng)
    return 255 * np.array(colorsys.hsv_to_rgb(*rng.beta((1, 1, 1.5), (1, 1.7, 1.1))))


def main() -> None:
    params = load_params()
    draw_people(params.draw_people, palette(params.class_tree), OUT)


if __name__ == "__main__":
    main()
