"""All triangles of a scene in one mesh, and what each of them belongs to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from preprocessing_stage.rendering.body import Faces, Points, body_model
from preprocessing_stage.rendering.clothes import thickness, worn_faces
from preprocessing_stage.rendering.ray_tracing import Mesh
from preprocessing_stage.rendering.scene import Person, Scene


class Surface(NamedTuple):
    """A prop, or one layer of a person."""

    owner: int
    """Index into the scene's people, then its props."""
    name: str
    """`skin`, `eyes`, `hair`, `skirt` or `prop`."""
    vertices: Points
    normals: Points
    rest: Points
    """Where the vertices lie on the body at rest; of a prop, in the scene."""
    faces: Faces


class Geometry:
    """A scene's surfaces as one mesh; arrays below are over all its vertices or faces."""

    def __init__(self, scene: Scene) -> None:
        surfaces: list[Surface] = []
        for owner, person in enumerate(scene.people):
            surfaces += _layers(owner, person)
        for owner, prop in enumerate(scene.props, len(scene.people)):
            normals = vertex_normals(prop.vertices, prop.faces)
            rest = prop.vertices
            surfaces.append(Surface(owner, "prop", prop.vertices, normals, rest, prop.faces))
        first = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
        faces = [s.faces + np.int32(start) for s, start in zip(surfaces, first[:-1], strict=True)]
        self.scene = scene
        self.surfaces = surfaces
        self.vertices = np.concatenate([surface.vertices for surface in surfaces])
        self.normals = np.concatenate([surface.normals for surface in surfaces])
        self.rest = np.concatenate([surface.rest for surface in surfaces])
        self.faces = np.concatenate(faces)
        self.surface_of_face = np.repeat(np.arange(len(faces)), [len(some) for some in faces])
        self.first_vertex = first[:-1]
        """Of each surface; those of a person's layers are the body model's from there on."""
        self.mesh = Mesh(self.vertices, self.faces)


def _layers(owner: int, person: Person) -> list[Surface]:
    """Skin with all that lifts it, eyes, long hair, skirt."""
    model = body_model()
    bare = person.body.vertices
    lift = thickness(person.outfit, model)[:, None]
    vertices = bare + lift * vertex_normals(bare, model.faces["skin"])
    return [
        Surface(owner, name, vertices, vertex_normals(vertices, faces), model.rest, faces)
        for name, faces in worn_faces(person.outfit, model).items()
    ]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (n, 3) float32 of vertices: those of their faces, by area. 0 where unused."""
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(cross[:, axis], 3), len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    result: np.ndarray = (normals / np.maximum(length, 1e-12)).astype(np.float32)
    return result
