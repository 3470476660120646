"""Things around people: ground, walls, furniture, poles, balls, foliage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import trimesh

from preprocessing_stage.rendering.body import Faces, Points
from preprocessing_stage.rendering.ray_tracing import noise
from preprocessing_stage.rendering.textures import Texture, random_texture


class Prop(NamedTuple):
    vertices: Points
    faces: Faces
    texture: Texture


def random_prop(rng: np.random.Generator, place: np.ndarray, size: float) -> Prop:
    """Any thing of about `size` metres with its middle at `place` (3,)."""
    kind = rng.choice(["box", "rod", "ball", "limb", "foliage"], p=[0.3, 0.2, 0.1, 0.2, 0.2])
    texture = random_texture(rng, rng.uniform(0.1, 0.6) * size)
    if kind == "box":
        return box(rng, place, size * rng.uniform(0.2, 1.2, 3), texture)
    turned = _any_turn(rng)
    if kind == "rod":
        mesh = trimesh.creation.cylinder(size * rng.uniform(0.02, 0.12), 2.5 * size, sections=16)
        if rng.random() < 0.6:
            turned = np.eye(3)
    elif kind == "limb":
        mesh = trimesh.creation.capsule(size, size * rng.uniform(0.1, 0.3), count=[12, 12])
    else:
        mesh = trimesh.creation.icosphere(subdivisions=3)
        radii = size * rng.uniform(0.3, 0.7, 3)
        rough = 0.0 if kind == "ball" else 0.6
        bumps = noise(np.float32(2.5) * mesh.vertices, int(rng.integers(1 << 30)), 3)
        mesh.vertices = mesh.vertices * radii * (1 + rough * bumps[:, None])
    vertices = mesh.vertices @ turned.T + place
    return Prop(vertices.astype(np.float32), mesh.faces.astype(np.int32), texture)


def box(rng: np.random.Generator, place: np.ndarray, sides: np.ndarray, texture: Texture) -> Prop:
    """An upright box, turned about the vertical."""
    mesh = trimesh.creation.box(sides)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    corners = (mesh.vertices @ turned.T + place).astype(np.float32)
    # Each face has corners of its own, so that edges stay sharp.
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    return Prop(corners[mesh.faces].reshape(-1, 3), faces, texture)


def slab(corners: np.ndarray, texture: Texture) -> Prop:
    """A flat four-cornered thing; `corners` (4, 3) go round it."""
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Prop(corners.astype(np.float32), faces, texture)


def _any_turn(rng: np.random.Generator) -> np.ndarray:
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    result: np.ndarray = turned * np.sign(np.linalg.det(turned))
    return result
