"""Rays against triangles, and noise in space: the loops that need compiled code.

NVIDIA Warp compiles the kernels for the CPU at first use and keeps them in its cache.
"""

# mypy: disable-error-code="no-untyped-def, attr-defined, valid-type"
# Kernels are Python to Warp's compiler alone.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import warp as wp

wp.config.quiet = True

FAR = 1e4  # metres


class Hits(NamedTuple):
    """Where rays first meet the mesh."""

    face: np.ndarray
    """(n,) int32, -1 for none."""
    weights: np.ndarray
    """(n, 3) float32: shares of the face's vertices in the point."""
    distance: np.ndarray
    """(n,) float32 in lengths of the ray's direction."""


@wp.kernel
def _trace(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    reach: float,
    face: wp.array(dtype=int),
    weights: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=float),
):
    i = wp.tid()
    hit = wp.mesh_query_ray(mesh, origins[i], directions[i], reach)
    if hit.result:
        face[i] = hit.face
        weights[i] = wp.vec3(hit.u, hit.v, 1.0 - hit.u - hit.v)
        distance[i] = hit.t
    else:
        face[i] = -1


@wp.kernel
def _blocked(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    reach: float,
    blocked: wp.array(dtype=wp.bool),
):
    i = wp.tid()
    blocked[i] = wp.mesh_query_ray_anyhit(mesh, origins[i], directions[i], reach)


@wp.kernel
def _noise(
    points: wp.array(dtype=wp.vec3),
    seed: int,
    octaves: int,
    noise: wp.array(dtype=float),
):
    i = wp.tid()
    state = wp.rand_init(seed)
    share = float(1.0)  # noqa: UP018 - a variable to Warp; a literal would be a constant
    value = float(0.0)  # noqa: UP018
    point = points[i]
    for _ in range(octaves):
        value += share * wp.noise(state, point)
        point = 2.0 * point + wp.vec3(17.0, 5.0, 11.0)
        share *= 0.55
    noise[i] = value


class Mesh:
    """Triangles that rays are cast against."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """`vertices` (n, 3) float32, `faces` (m, 3) int32."""
        self._mesh = wp.Mesh(
            points=wp.array(vertices, dtype=wp.vec3, device="cpu"),
            indices=wp.array(faces.ravel(), dtype=int, device="cpu"),
            bvh_constructor="sah",
        )

    def trace(self, origins: np.ndarray, directions: np.ndarray, reach: float = FAR) -> Hits:
        """First hits of the rays; both arrays are (n, 3) float32."""
        n = len(origins)
        face, distance = np.empty(n, np.int32), np.zeros(n, np.float32)
        weights = np.zeros((n, 3), np.float32)
        outputs = [_view(face, int), _view(weights, wp.vec3), _view(distance, float)]
        inputs = [self._mesh.id, _view(origins, wp.vec3), _view(directions, wp.vec3), reach]
        wp.launch(_trace, n, inputs, outputs, device="cpu")
        return Hits(face, weights, distance)

    def blocked(
        self, origins: np.ndarray, directions: np.ndarray, reach: float = FAR
    ) -> np.ndarray:
        """Whether the rays (n, 3) float32 meet anything, (n,) bool."""
        blocked = np.empty(len(origins), np.bool_)
        inputs = [self._mesh.id, _view(origins, wp.vec3), _view(directions, wp.vec3), reach]
        wp.launch(_blocked, len(origins), inputs, [_view(blocked, wp.bool)], device="cpu")
        return blocked


def noise(points: np.ndarray, seed: int, octaves: int = 4) -> np.ndarray:
    """Fractal gradient noise (n,) float32, about -1 to 1, at points (n, 3).

    Its coarsest scale is 1; each further octave halves it.
    """
    values = np.empty(len(points), np.float32)
    inputs = [_view(points.astype(np.float32), wp.vec3), seed, octaves]
    wp.launch(_noise, len(points), inputs, [_view(values, float)], device="cpu")
    return values


def _view(array: np.ndarray, dtype: Any) -> Any:
    return wp.array(np.ascontiguousarray(array), dtype=dtype, device="cpu", copy=False)
