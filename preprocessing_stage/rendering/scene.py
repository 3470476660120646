"""Random scenes: who stands where, seen how, in what light, among which things.

The camera is on the negative y axis and looks along y, z is up, the ground is at 0. Lengths are
metres. The main person stands at the origin.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from preprocessing_stage.rendering.body import Body, body_model
from preprocessing_stage.rendering.clothes import Outfit, random_outfit
from preprocessing_stage.rendering.pose import STANCES, random_pose, turn
from preprocessing_stage.rendering.props import Prop, box, random_prop, slab
from preprocessing_stage.rendering.textures import Colour, any_colour, random_texture

SHOTS = {"portrait": 0.22, "half": 0.2, "knees": 0.14, "full": 0.22, "far": 0.17, "legs": 0.05}
"""How often each framing of the main person is drawn."""
EXTENT = {
    "portrait": (0.5, 0.85),
    "half": (0.8, 1.2),
    "knees": (1.2, 1.6),
    "full": (1.8, 2.9),
    "far": (2.8, 9.0),
    "legs": (0.8, 1.5),
}
"""Metres from the lower to the upper edge of the image at the main person."""


class Person(NamedTuple):
    body: Body
    """On its place in the scene."""
    outfit: Outfit


class Camera(NamedTuple):
    position: np.ndarray
    """(3,)"""
    axes: np.ndarray
    """(3, 3): rows point right, down and forward."""
    tangent: float
    """Of half the field of view."""

    def rays(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origins and directions (n, 3) float32 of rays through points of the image, -1 to 1."""
        view = np.stack([self.tangent * u, self.tangent * v, np.ones_like(u)], axis=-1)
        directions = (view @ self.axes).astype(np.float32)
        return np.broadcast_to(self.position.astype(np.float32), directions.shape), directions


class Light(NamedTuple):
    direction: np.ndarray
    """(3,) towards the light."""
    colour: Colour
    spread: float
    """How soft its shadows are."""


class Scene(NamedTuple):
    people: list[Person]
    props: list[Prop]
    camera: Camera
    lights: list[Light]
    sky: Colour
    """Light from above where nothing is near."""
    floor: Colour
    """The same from below."""


def random_scene(rng: np.random.Generator) -> Scene:
    main, stance = _person(rng)
    main = _moved(main, rng.normal(0, 55), np.zeros(2))
    shot = str(rng.choice(list(SHOTS), p=list(SHOTS.values())))
    extent = float(rng.uniform(*EXTENT[shot]))
    camera, distance = _camera(rng, main.body, shot, extent)
    people = [main, *_company(rng, distance, extent)]
    props = _surroundings(rng, distance, extent)
    if stance == "sit" and rng.random() < 0.7:
        props.append(_seat(rng, main.body))
    elif stance == "ride":
        props.append(_seat(rng, main.body, sides=np.array([0.35, 1.6, 0.6])))
    return Scene(people, props, camera, *_light(rng))


def _person(rng: np.random.Generator) -> tuple[Person, str]:
    """Somebody at the origin, in a pose whose arms do not run through the body."""
    model = body_model()
    is_child = rng.random() < 0.15
    phenotype = {
        "age": rng.uniform(0.2, 0.5) if is_child else rng.uniform(0.55, 1),
        "gender": float(rng.random() < 0.5) * 0.8 + rng.uniform(0, 0.2),
        "muscle": rng.beta(2, 2),
        "weight": rng.beta(2, 2),
        "height": rng.beta(3, 3),
        "proportions": rng.random(),
        **dict(zip(("african", "asian", "caucasian"), rng.dirichlet([0.5] * 3), strict=True)),
    }
    stance = str(rng.choice(list(STANCES), p=list(STANCES.values())))
    for _ in range(10):
        body = model.pose(random_pose(rng, stance, model.rest_joints), phenotype)
        if not _is_tangled(body):
            break
    return Person(body, random_outfit(rng)), stance


def _is_tangled(body: Body) -> bool:
    """Whether a forearm or hand runs through trunk or head, or knees through each other."""
    joints = body.joints
    shoulders = np.linalg.norm(joints["upperarm01.L"] - joints["upperarm01.R"])
    trunk = np.linspace(joints["root"], joints["neck01"], 8)
    neck, skull = joints["neck02"], joints["head"]
    head = np.linspace(neck, skull + 0.4 * (skull - joints["neck01"]), 4)
    if np.linalg.norm(joints["lowerleg01.L"] - joints["lowerleg01.R"]) < 0.25 * shoulders:
        return True
    for side in ("L", "R"):
        wrist, fingers = joints[f"wrist.{side}"], joints[f"finger3-3.{side}"]
        arm = np.concatenate([np.linspace(joints[f"lowerarm01.{side}"], wrist, 5), [fingers]])
        for core, share in ((trunk, 0.42), (head, 0.33)):
            gaps = np.linalg.norm(arm[1:, None] - core, axis=2)
            if gaps.min() < share * shoulders:
                return True
    return False


def _moved(person: Person, yaw: float, place: np.ndarray) -> Person:
    """The person turned by `yaw` degrees and put on the ground at `place` (2,)."""
    rotation = turn(np.array([0.0, 0, 1]), yaw).astype(np.float32)
    vertices = person.body.vertices @ rotation.T
    shift = np.array([*place, -vertices[:, 2].min()], np.float32)
    joints = {bone: rotation @ joint + shift for bone, joint in person.body.joints.items()}
    return person._replace(body=Body(vertices + shift, joints))


def _camera(rng: np.random.Generator, body: Body, shot: str, extent: float) -> tuple[Camera, float]:
    """A camera for the shot and its distance from the main person."""
    tangent = np.tan(np.deg2rad(rng.uniform(24, 62)) / 2)
    distance = extent / (2 * tangent)
    lowest, highest = body.vertices[:, 2].min(), body.vertices[:, 2].max()
    if shot == "legs":
        height = lowest + extent * rng.uniform(0.25, 0.5)
    elif shot in ("full", "far"):
        height = (lowest + highest) / 2 + extent * rng.normal(0, 0.08)
    else:  # the head stays in the picture
        height = highest + extent * (rng.uniform(0, 0.22) - 0.5)
    middle = body.joints["neck01" if shot == "portrait" else "spine03"][:2]
    aside = rng.normal(0, 0.16) * extent
    target = np.array([middle[0] + aside, middle[1], height])
    pitch = np.deg2rad(np.clip(rng.normal(8, 12), -20, 50))
    away = distance * np.array([0, -np.cos(pitch), np.sin(pitch)])
    position = target + away
    position[2] = max(0.1, position[2])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, turn(forward, rng.normal(0, 5)) @ np.array([0.0, 0, 1]))
    right /= np.linalg.norm(right)
    return Camera(position, np.stack([right, np.cross(forward, right), forward]), tangent), distance


def _company(rng: np.random.Generator, distance: float, extent: float) -> list[Person]:
    """Up to three more people, beside and behind the main one."""
    count = int(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1]))
    company, places = [], [np.zeros(2)]
    for _ in range(count):
        for _ in range(10):
            depth = rng.normal(0, 0.4) if rng.random() < 0.5 else rng.uniform(0.5, 6)
            depth = max(depth, -0.3 * distance)
            across = rng.uniform(-0.55, 0.55) * extent * (distance + depth) / distance
            place = np.array([across, depth])
            if min(np.linalg.norm(place - other) for other in places) > 0.45:
                places.append(place)
                company.append(_moved(_person(rng)[0], rng.normal(0, 70), place))
                break
    return company


def _surroundings(rng: np.random.Generator, distance: float, extent: float) -> list[Prop]:
    """Ground, perhaps walls, things behind people and perhaps one in front of them."""
    far = 60.0
    ground = np.array([[-far, -far, 0], [far, -far, 0], [far, far, 0], [-far, far, 0]])
    props = [slab(ground, random_texture(rng, rng.uniform(0.2, 2)))]
    if rng.random() < 0.55:
        wall = ground[:, [0, 2, 1]] / 4 + [0, rng.uniform(0.6, 7), 5]
        tilt = turn(np.array([0.0, 0, 1]), rng.normal(0, 20))
        props.append(slab(wall @ tilt.T, random_texture(rng, rng.uniform(0.3, 2))))
    for _ in range(rng.integers(4, 18)):
        depth = rng.uniform(0.5, 9)
        width = extent * (distance + depth) / distance
        size = width * rng.uniform(0.08, 0.45)
        place = [rng.uniform(-0.7, 0.7) * width, depth + size / 2, rng.uniform(0, 1.2) * width]
        props.append(random_prop(rng, np.array(place), size))
    if rng.random() < 0.3:
        depth = -rng.uniform(0.25, 0.55) * distance
        width = extent * (distance + depth) / distance
        place = [rng.uniform(-0.6, 0.6) * width, depth, rng.uniform(0, 0.6) * extent]
        props.append(random_prop(rng, np.array(place), width * rng.uniform(0.12, 0.4)))
    return props


def _seat(rng: np.random.Generator, body: Body, sides: np.ndarray | None = None) -> Prop:
    """A box under the pelvis."""
    pelvis = body.joints["root"]
    top = max(0.15, pelvis[2] - 0.1)
    if sides is None:
        sides = np.array([*rng.uniform(0.35, 0.7, 2), top])
    place = np.array([pelvis[0], pelvis[1], top - sides[2] / 2])
    return box(rng, place, sides, random_texture(rng, 0.2))


def _light(rng: np.random.Generator) -> tuple[list[Light], Colour, Colour]:
    """Two lights, and what comes from the sky and off the floor."""
    warmth = rng.normal(0, 0.12)
    tint = np.array([1 + warmth, 1, 1 - warmth], np.float32)
    lights = []
    for strength in (rng.uniform(0.3, 1.6), rng.uniform(0, 0.5)):
        azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 1.3)
        level = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(height)
        direction = np.array([*level, np.sin(height)], np.float32)
        lights.append(Light(direction, strength * tint, rng.uniform(0.01, 0.25)))
        tint = (1 / tint).astype(np.float32)
    sky = rng.uniform(0.35, 0.9) * (0.75 + 0.25 * any_colour(rng)) / tint
    return lights, sky.astype(np.float32), (0.5 * sky * any_colour(rng)).astype(np.float32)
