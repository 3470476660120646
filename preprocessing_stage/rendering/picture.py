"""From a scene to a photograph and its label map."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from preprocessing_stage.rendering.body import BACKGROUND, HEAD, body_model
from preprocessing_stage.rendering.clothes import paint
from preprocessing_stage.rendering.geometry import Geometry
from preprocessing_stage.rendering.ray_tracing import Hits, noise
from preprocessing_stage.rendering.scene import Scene
from preprocessing_stage.rendering.textures import encoded

FINE = 2
"""Rays per pixel along each axis."""
_AROUND = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32) / 3**0.5
"""Directions (4, 3) that differ as much as possible, one for each ray of a pixel."""
GRAY_SHARE = 0.02
"""Share of samples without colour, as among the photographs of Pascal-Part."""


def render(scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (size, size, 3) float32, 0 to 255, and label map (size, size) uint8 of a scene."""
    geometry = Geometry(scene)
    labels = _labels(geometry, size)
    colours = _colours(geometry, FINE * size)
    picture = encoded(colours).reshape(size, FINE, size, FINE, 3).mean(axis=(1, 3))
    return picture.astype(np.float32), labels


def _labels(geometry: Geometry, size: int) -> np.ndarray:
    """Part in the centre of each pixel."""
    hits = geometry.mesh.trace(*geometry.scene.camera.rays(*_grid(size)))
    labels = np.full(size * size, BACKGROUND, np.uint8)
    people = len(geometry.scene.people)
    is_person = np.array([s.owner < people for s in geometry.surfaces])
    is_hair = np.array([s.name == "hair" for s in geometry.surfaces])
    hit = np.flatnonzero(hits.face >= 0)
    surface = geometry.surface_of_face[hits.face[hit]]
    hit, surface = hit[is_person[surface]], surface[is_person[surface]]
    corners = geometry.faces[hits.face[hit]] - geometry.first_vertex[surface, None]
    shares = np.einsum("nk,nkp->np", hits.weights[hit], body_model().parts[corners])
    labels[hit] = np.where(is_hair[surface], HEAD, shares.argmax(axis=1))
    return labels.reshape(size, size)


def _colours(geometry: Geometry, size: int) -> np.ndarray:
    """Linear colours (size * size, 3) of light that reaches the camera."""
    scene = geometry.scene
    origins, directions = scene.camera.rays(*_grid(size))
    hits = geometry.mesh.trace(origins, directions)
    colours = np.empty((size * size, 3), np.float32)
    missed, seen = np.flatnonzero(hits.face < 0), np.flatnonzero(hits.face >= 0)
    colours[missed] = _sky(scene, directions[missed])
    hits = Hits(*(values[seen] for values in hits))
    points = origins[seen] + hits.distance[:, None] * directions[seen]
    corners = geometry.faces[hits.face]
    normals = np.einsum("nk,nkc->nc", hits.weights, geometry.normals[corners])
    facing = np.sign(-np.einsum("nc,nc->n", normals, directions[seen]))
    normals *= (facing / np.maximum(np.linalg.norm(normals, axis=1), 1e-6))[:, None]
    normals = normals.astype(np.float32)
    albedo = _albedo(geometry, hits, corners)
    # The rays of a pixel look in different directions, the same in every pixel: no noise.
    row, column = seen // size % FINE, seen % FINE
    colours[seen] = albedo * _light(geometry, points, normals, row * FINE + column)
    return colours


def _albedo(geometry: Geometry, hits: Hits, corners: np.ndarray) -> np.ndarray:
    scene, model = geometry.scene, body_model()
    albedo = np.zeros((len(hits.face), 3), np.float32)
    surface_of_hit = geometry.surface_of_face[hits.face]
    order = np.argsort(surface_of_hit, kind="stable")
    limits = np.searchsorted(surface_of_hit[order], np.arange(len(geometry.surfaces) + 1))
    for index, surface in enumerate(geometry.surfaces):
        mine = order[limits[index] : limits[index + 1]]
        if not len(mine):
            continue
        weights = hits.weights[mine]
        rest = np.einsum("nk,nkc->nc", weights, geometry.rest[corners[mine]])
        if surface.owner < len(scene.people):
            vertex = corners[mine] - geometry.first_vertex[index]
            arm = np.einsum("nk,nk->n", weights, model.arm[vertex])
            leg = np.einsum("nk,nk->n", weights, model.leg[vertex])
            outfit = scene.people[surface.owner].outfit
            albedo[mine] = paint(outfit, surface.name, rest, arm, leg)
        else:
            albedo[mine] = scene.props[surface.owner - len(scene.people)].texture(rest)
    return albedo


def _light(
    geometry: Geometry,
    points: np.ndarray,
    normals: np.ndarray,
    pattern: np.ndarray,
) -> np.ndarray:
    """Light (n, 3) that falls on points: from the sky, dimmer in corners, and from the lights.

    `pattern` (n,) chooses among the few directions in which light is looked for.
    """
    scene = geometry.scene
    above = points + 2e-3 * normals
    is_open = ~geometry.mesh.blocked(above, _unit(normals + 0.95 * _AROUND[pattern]), 0.8)
    up = (0.5 + 0.5 * normals[:, 2:]) * (0.2 + 0.8 * is_open[:, None])
    light = up * scene.sky + (0.5 - 0.5 * normals[:, 2:]) * scene.floor
    for lamp in scene.lights:
        towards = _unit(lamp.direction + lamp.spread * _AROUND[pattern])
        slope = np.einsum("nc,nc->n", normals, towards).clip(0)
        lit = np.flatnonzero(slope > 0)
        lit = lit[~geometry.mesh.blocked(above[lit], towards[lit])]
        light[lit] += slope[lit, None] * lamp.colour
    result: np.ndarray = light
    return result


def _unit(vectors: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors / np.sqrt(np.einsum("nc,nc->n", vectors, vectors))[:, None]
    return result


def _sky(scene: Scene, directions: np.ndarray) -> np.ndarray:
    """What rays see that meet nothing: a cloudy gradient."""
    height = directions[:, 2] / np.linalg.norm(directions, axis=1)
    cloud = noise(4 * directions, 1, 4)
    shade = (0.8 + 0.4 * height + 0.3 * cloud).astype(np.float32)
    result: np.ndarray = shade[:, None] * scene.sky
    return result


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates u and v, -1 to 1, of size * size points in rows."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
    v, u = np.meshgrid(centres, centres, indexing="ij")
    return u.ravel(), v.ravel()


def photograph(picture: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """What a middling camera makes of a picture; now and then without colour (mode L)."""
    exposure = 0.47 / np.sqrt(np.mean((picture / 255) ** 2) + 1e-4)
    picture = picture * np.clip(exposure, 0.6, 1.9) * rng.normal(1, 0.12) * rng.normal(1, 0.03, 3)
    blur = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    blur = blur.filter(ImageFilter.GaussianBlur(max(0.0, rng.uniform(-0.5, 0.9))))
    pixels = np.asarray(blur, np.float32)
    pixels = pixels + rng.uniform(1, 7) * rng.standard_normal(pixels.shape, np.float32)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image.convert("L") if rng.random() < GRAY_SHARE else image
