"""Normals, rays and noise against what can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing_stage.rendering.geometry import vertex_normals
from preprocessing_stage.rendering.ray_tracing import Mesh, noise


def test_normals_are_those_of_the_faces_by_area() -> None:
    # A face upward with area 2 and one to the right with area 1 share an edge.
    vertices = np.array([[0, 0, 0], [0, 1, 0], [-4, 0, 0], [0, 0, -2], [9, 9, 9]], np.float32)
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [1, 0, 3]], np.int32))
    shared = np.array([1, 0, 2]) / 5**0.5
    expected = [shared, shared, [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert normals == pytest.approx(np.array(expected), abs=1e-6)
    assert normals.dtype == np.float32


def test_rays_meet_triangles_as_told_by_hand() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    far = corners - np.float32([0, 0, 1])
    faces = np.array([[4, 5, 3], [2, 0, 1]], np.int32)
    mesh = Mesh(np.concatenate([corners, far]), faces)
    origins = np.array([[0.2, 0.3, 2], [0.2, 0.3, -3], [0.9, 0.9, 2], [0.2, 0.3, 2]], np.float32)
    directions = np.array([[0, 0, -2], [0, 0, 1], [0, 0, -2], [0, 0, 2]], np.float32)
    hits = mesh.trace(origins, directions)
    assert hits.face.tolist() == [1, 0, -1, -1]  # the nearer one, from either side
    assert hits.distance[:2] == pytest.approx([1, 2])  # in lengths of the direction
    assert hits.weights[0] == pytest.approx([0.3, 0.5, 0.2], abs=1e-6)  # of vertices 2, 0, 1
    assert hits.weights[1] == pytest.approx([0.2, 0.3, 0.5], abs=1e-6)  # of vertices 4, 5, 3
    assert mesh.blocked(origins, directions).tolist() == [True, True, False, False]


def test_rays_end_at_their_reach() -> None:
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    ray = np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)  # meets it after a third
    assert [mesh.trace(*ray, reach=x).face[0] for x in (0.3, 0.4)] == [-1, 0]
    assert [bool(mesh.blocked(*ray, reach=x)[0]) for x in (0.3, 0.4)] == [False, True]


def test_noise_is_smooth_in_range_and_the_same_every_time() -> None:
    points = np.random.default_rng(0).uniform(-20, 20, (5000, 3)).astype(np.float32)
    values = noise(points, seed=3)
    assert (noise(points, seed=3) == values).all()
    assert (noise(points[::-1], seed=3)[::-1] == values).all()
    assert abs(np.corrcoef(values, noise(points, seed=4))[0, 1]) < 0.1
    assert -1 <= values.min() < -0.4 and 0.4 < values.max() <= 1
    assert abs(values.mean()) < 0.02
    assert np.abs(noise(points + 1e-3, seed=3) - values).max() < 0.03
    # Gradient noise is 0 at the corners of its grid, whose scale is 1.
    assert noise(np.round(points), seed=3, octaves=1) == pytest.approx(0, abs=1e-6)
