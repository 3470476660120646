"""Random poses that a body can take: standing, walking, sitting, crouching, riding, reaching.

Angles are degrees. Upper arms and thighs are aimed at directions; elbows and knees bend.
"""

from __future__ import annotations

import numpy as np

Rotation = np.ndarray  # (3, 3) float64

_FRONT = np.array([0.0, -1, 0])
_UP = np.array([0.0, 0, 1])

STANCES = {"stand": 0.34, "walk": 0.22, "sit": 0.2, "crouch": 0.06, "ride": 0.08, "free": 0.1}
"""How often each is drawn."""


def turn(axis: np.ndarray, angle: float) -> Rotation:
    """Rotation by `angle` degrees about `axis` (3,), by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    radians = np.deg2rad(angle)
    result: np.ndarray = np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross
    return result


def random_pose(
    rng: np.random.Generator, stance: str, joints: dict[str, np.ndarray]
) -> dict[str, Rotation]:
    """Rotations of bones, as `BodyModel.pose` takes them; `joints` (3,) are those at rest."""
    pose = _spine(rng, stance) | _legs(rng, stance, joints)
    for side, sign in (("L", 1), ("R", -1)):
        pose |= _arm(rng, stance, joints, side, sign)
    return pose


def _spine(rng: np.random.Generator, stance: str) -> dict[str, Rotation]:
    lean = {"crouch": 25, "ride": 15, "sit": 5, "free": 10}.get(stance, 3)
    spread = {"free": 20, "crouch": 12, "sit": 10, "ride": 15}.get(stance, 6)
    forward, aside, twist = rng.normal([lean, 0, 0], [spread, 6, 10])
    bend = _euler(np.clip(forward, -20, 60) / 4, np.clip(aside, -20, 20) / 4, twist / 4)
    nod, tilt, look = rng.normal([5 - 0.5 * forward, 0, 0], [12, 7, 25])
    neck = _euler(np.clip(nod, -40, 35) / 3, np.clip(tilt, -25, 25) / 3, np.clip(look, -65, 65) / 3)
    spine = {f"spine0{i}": bend for i in (1, 2, 3, 4)}
    return spine | {"neck01": neck, "neck03": neck, "head": neck}


def _legs(
    rng: np.random.Generator, stance: str, joints: dict[str, np.ndarray]
) -> dict[str, Rotation]:
    """Both legs: flexion lifts the knee to the front, abduction spreads."""
    stride, both = rng.normal(0, 22), rng.normal(0, 1)
    pose = {}
    for side, sign in (("L", 1), ("R", -1)):
        if stance == "sit":
            flexion, abduction, knee = 85 + 9 * both, rng.normal(12, 9), rng.normal(85, 22)
        elif stance == "crouch":
            flexion, abduction, knee = 95 + 15 * both, rng.normal(18, 8), rng.normal(115, 15)
        elif stance == "ride":
            flexion, abduction, knee = rng.normal(60, 12), rng.normal(24, 5), rng.normal(70, 20)
        elif stance == "walk":
            flexion = 5 + sign * stride + rng.normal(0, 5)
            abduction, knee = rng.normal(4, 3), max(0, -0.8 * flexion) + abs(rng.normal(5, 15))
        elif stance == "free":
            flexion, abduction = rng.uniform(-25, 100), rng.normal(15, 14)
            knee = rng.uniform(0, 110)
        else:
            flexion, abduction, knee = rng.normal(2, 6), rng.normal(5, 5), abs(rng.normal(0, 8))
        thigh = _rest(joints, "upperleg01", "lowerleg01", side)
        straight = turn(np.cross(thigh, -_UP), _angle(thigh, -_UP))
        splay = turn(_FRONT, sign * np.clip(abduction, -3, 42))
        lift = turn(np.array([1.0, 0, 0]), -np.clip(flexion, -30, 125))
        pose[f"upperleg01.{side}"] = turn(_UP, sign * rng.normal(8, 8)) @ splay @ lift @ straight
        pose[f"lowerleg01.{side}"] = turn(np.array([1.0, 0, 0]), np.clip(knee, 0, 140))
        pose[f"foot.{side}"] = _euler(rng.normal(0, 10), 0, 0)
    return pose


def _arm(
    rng: np.random.Generator, stance: str, joints: dict[str, np.ndarray], side: str, sign: int
) -> dict[str, Rotation]:
    """One arm. Elevation 0 hangs, 90 is level; azimuth 0 points aside, 90 to the front."""
    use = rng.random()
    if stance == "ride" or (stance in ("sit", "crouch") and use < 0.5):
        elevation, azimuth, elbow = rng.normal(40, 14), rng.normal(70, 15), rng.normal(50, 28)
    elif use < 0.5:  # hanging, hands perhaps folded or in the pockets
        elevation, azimuth, elbow = rng.normal(14, 7), rng.uniform(-30, 60), rng.gamma(1.5, 16)
    elif use < 0.7:  # on the hip, holding something
        elevation, azimuth, elbow = rng.normal(35, 12), rng.uniform(-20, 80), rng.normal(95, 20)
    else:  # reaching, waving
        elevation, azimuth, elbow = rng.uniform(30, 165), rng.uniform(-10, 100), rng.uniform(0, 120)
    elevation, azimuth = np.clip(elevation, 8, 165), np.deg2rad(np.clip(azimuth, -35, 110))
    level = np.array([sign * np.cos(azimuth), -np.sin(azimuth), 0])
    radians = np.deg2rad(elevation)
    aim = np.sin(radians) * level - np.cos(radians) * _UP
    shrug = turn(_FRONT, -sign * max(0, 0.25 * (elevation - 60)))
    upper = _rest(joints, "upperarm01", "lowerarm01", side)
    fore = _rest(joints, "lowerarm01", "wrist", side)
    # At rest the elbow is bent by about 40 degrees: less than that straightens it.
    hinge = np.cross(upper, fore)
    roll = turn(upper, sign * rng.normal(0, 25))
    raise_ = turn(np.cross(upper, aim), _angle(upper, aim))
    return {
        f"clavicle.{side}": shrug,
        f"upperarm01.{side}": shrug.T @ raise_ @ roll,
        f"lowerarm01.{side}": turn(hinge, np.clip(elbow, 3, 140) - _angle(upper, fore)),
        f"lowerarm02.{side}": turn(fore, rng.uniform(-60, 60)),
        f"wrist.{side}": _euler(*rng.normal(0, [15, 12, 10])),
    }


def _euler(forward: float, aside: float, twist: float) -> Rotation:
    """Bends to the front, then to the left, after a twist to the left."""
    bend = turn(np.array([1.0, 0, 0]), forward) @ turn(-_FRONT, aside)
    result: np.ndarray = bend @ turn(_UP, twist)
    return result


def _rest(joints: dict[str, np.ndarray], start: str, end: str, side: str) -> np.ndarray:
    bone = (joints[f"{end}.{side}"] - joints[f"{start}.{side}"]).astype(np.float64)
    result: np.ndarray = bone / np.linalg.norm(bone)
    return result


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1, 1))))
