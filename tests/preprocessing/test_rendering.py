"""Bodies, rays and label maps below the entry point, against what can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from preprocessing_stage.rendering.body import (
    BACKGROUND,
    HEAD,
    LOW_HAND,
    LOW_LEG,
    TORSO,
    UP_HAND,
    UP_LEG,
    Body,
    body_model,
)
from preprocessing_stage.rendering.clothes import Outfit
from preprocessing_stage.rendering.parts import PARTS
from preprocessing_stage.rendering.picture import render
from preprocessing_stage.rendering.pose import random_pose, turn
from preprocessing_stage.rendering.props import slab
from preprocessing_stage.rendering.scene import Camera, Person, Scene, _is_tangled, random_scene
from preprocessing_stage.rendering.textures import plain

ADULT = {"age": 0.67}
WHITE = np.ones(3, np.float32)
BLACK = np.zeros(3, np.float32)
LEFT, FRONT, UP = np.array([1.0, 0, 0]), np.array([0.0, -1, 0]), np.array([0.0, 0, 1])
SIZE = 96
# The right of the image is the left of a body that faces the camera.
CAMERA = Camera(4 * FRONT, np.stack([LEFT, -UP, -FRONT]), tangent=0.28)
ALL_WHITE = Outfit(
    skin=WHITE,
    hair=WHITE,
    hair_length=0.0,
    beard=False,
    hat=None,
    shirt=plain(WHITE),
    sleeves=1.0,
    hem=0.0,
    neckline=0.1,
    trousers=plain(WHITE),
    trouser_length=1.0,
    skirt=None,
    skirt_end=0.0,
    shoes=None,
    shoe_height=2.0,
    gloves=None,
    looseness=(0.003, 0.003),
)


def from_to(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    cos = start @ end / (np.linalg.norm(start) * np.linalg.norm(end))
    return turn(np.cross(start, end), np.rad2deg(np.arccos(cos)))


def arm(side: str, upper: np.ndarray, fore: np.ndarray) -> dict[str, np.ndarray]:
    """The pose of an arm with its two bones in these directions."""
    shoulder, elbow, wrist = (
        body_model().rest_joints[f"{bone}.{side}"].astype(float)
        for bone in ("upperarm01", "lowerarm01", "wrist")
    )
    raised = from_to(elbow - shoulder, upper)
    return {
        f"upperarm01.{side}": raised,
        f"lowerarm01.{side}": from_to(wrist - elbow, raised.T @ fore),
    }


def t_pose() -> dict[str, np.ndarray]:
    return arm("L", LEFT, LEFT) | arm("R", -LEFT, -LEFT)


@pytest.fixture(scope="module")
def t_posed() -> Body:
    return body_model().pose(t_pose(), ADULT)


def shifted(body: Body, by: np.ndarray) -> Body:
    shift = by.astype(np.float32)
    return Body(body.vertices + shift, {bone: at + shift for bone, at in body.joints.items()})


def silhouette(*bodies: Body, **outfit: object) -> Scene:
    """Everybody is so bright that the picture is white where it shows them, and else black."""
    people = [Person(body, ALL_WHITE._replace(**outfit)) for body in bodies]
    return Scene(people, [], CAMERA, [], sky=BLACK, floor=1e6 * WHITE)


def pixel(point: np.ndarray) -> tuple[int, int]:
    """Row and column of the pixel that shows a point."""
    across, down, depth = CAMERA.axes @ (point - CAMERA.position)
    place = np.array([down, across]) / (depth * CAMERA.tangent)
    row, column = np.floor((place + 1) / 2 * SIZE).astype(int)
    return int(row), int(column)


def assert_parts_are_where_the_joints_are(labels: np.ndarray, body: Body) -> None:
    def middle(*bones: str) -> np.ndarray:
        return np.mean([body.joints[bone] for bone in bones], axis=0)

    wanted = {
        "face": (HEAD, middle("eye.L", "eye.R")),
        "neck": (TORSO, middle("neck01")),
        "chest": (TORSO, middle("spine01")),
        "belly": (TORSO, middle("spine03")),
        "beside the belly": (BACKGROUND, middle("spine03") + 0.4 * LEFT),
        "above the head": (BACKGROUND, middle("head") + 0.3 * UP),
    }
    for side, sign in (("L", 1), ("R", -1)):
        upper = middle(f"upperarm01.{side}", f"lowerarm01.{side}")
        wanted |= {
            f"upper arm {side}": (UP_HAND, upper),
            f"below the upper arm {side}": (BACKGROUND, upper - 0.15 * UP),
            f"forearm {side}": (LOW_HAND, middle(f"lowerarm01.{side}", f"wrist.{side}")),
            f"hand {side}": (LOW_HAND, middle(f"wrist.{side}", f"finger3-1.{side}")),
            f"beyond the hand {side}": (BACKGROUND, middle(f"wrist.{side}") + 0.3 * sign * LEFT),
            f"thigh {side}": (UP_LEG, middle(f"upperleg01.{side}", f"lowerleg01.{side}")),
            f"shin {side}": (LOW_LEG, middle(f"lowerleg01.{side}", f"foot.{side}")),
            f"foot {side}": (LOW_LEG, middle(f"foot.{side}", f"toe2-3.{side}")),
        }
    seen = {name: PARTS[labels[pixel(point)]] for name, (_, point) in wanted.items()}
    assert seen == {name: PARTS[part] for name, (part, _) in wanted.items()}


def test_each_part_is_where_the_joints_are(t_posed: Body) -> None:
    _, labels = render(silhouette(t_posed), SIZE)
    assert_parts_are_where_the_joints_are(labels, t_posed)


def test_everybody_has_parts(t_posed: Body) -> None:
    """People who stand one behind the other, the second half a metre higher."""
    behind = shifted(body_model().pose(t_pose(), {"age": 0.3}), 0.5 * UP - FRONT)
    scene = silhouette(shifted(t_posed, 2 * LEFT), behind)
    assert_parts_are_where_the_joints_are(render(scene, SIZE)[1], behind)


def test_the_bodys_left_is_on_the_right_of_the_image(t_posed: Body) -> None:
    hanging = body_model().pose(arm("L", LEFT, LEFT) | arm("R", -UP, -UP), ADULT)
    columns = np.nonzero(render(silhouette(hanging), SIZE)[1])[1]
    assert columns.max() - SIZE / 2 > 1.5 * (SIZE / 2 - columns.min())


def test_what_stands_in_front_is_background(t_posed: Body) -> None:
    free = silhouette(t_posed)
    corners = np.array([[-5, -1, -5], [0, -1, -5], [0, -1, 5], [-5, -1, 5]])
    hidden = render(free._replace(props=[slab(corners, plain(BLACK))]), SIZE)[1]
    expected = render(free, SIZE)[1]
    assert expected[:, : SIZE // 2].any()
    expected[:, : SIZE // 2] = BACKGROUND
    assert (hidden == expected).all()


@pytest.mark.parametrize("seed", range(3))
def test_labels_lie_where_the_image_shows_somebody(seed: int) -> None:
    pose = random_pose(np.random.default_rng(seed), "free", body_model().rest_joints)
    scene = silhouette(body_model().pose(pose, ADULT))
    picture, labels = render(scene._replace(camera=CAMERA._replace(tangent=0.2)), SIZE)
    shown, labelled = picture.min(axis=2), labels > 0
    assert (shown == 255).mean() > 0.03
    assert (shown[~maximum_filter(labelled, 3)] == 0).all()
    assert (shown[labelled] > 0).all()
    # Within the outline a ray may go through a gap between fingers, or between arm and trunk.
    assert (shown[minimum_filter(labelled, 3)] == 255).mean() > 0.99
    assert abs((shown / 255).sum() - labelled.sum()) < 0.02 * labelled.sum()


def test_edges_are_smooth_in_the_picture_and_sharp_in_the_labels(t_posed: Body) -> None:
    picture, labels = render(silhouette(t_posed), SIZE)
    quarters = np.array([0, 63.75, 127.5, 191.25, 255])  # of the four rays in a pixel
    values, count = np.unique(np.searchsorted(quarters, picture[..., 0]), return_counts=True)
    assert np.isin(picture, quarters).all()
    assert values.tolist() == [0, 1, 2, 3, 4] and count.min() > 20
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == set(range(len(PARTS)))
    is_partly = (picture[..., 0] > 0) & (picture[..., 0] < 255)
    is_border = maximum_filter(labels, 3) != minimum_filter(labels, 3)
    assert is_border[is_partly].all()


def test_long_hair_is_head_wherever_it_reaches(t_posed: Body) -> None:
    from_behind = Camera(-CAMERA.position, np.stack([-LEFT, -UP, FRONT]), CAMERA.tangent)
    bald, hairy = (
        render(silhouette(t_posed, hair_length=x)._replace(camera=from_behind), SIZE)[1]
        for x in (0.0, 1.5)
    )
    differ = bald != hairy
    assert (hairy[differ] == HEAD).all()
    assert (differ & (bald == TORSO)).sum() > 20


def test_a_skirt_is_legs_and_torso(t_posed: Body) -> None:
    bare, dressed = (
        render(silhouette(t_posed, skirt=skirt, skirt_end=-0.8), SIZE)[1]
        for skirt in (None, plain(WHITE))
    )
    row, column = pixel(np.array([0, 0, -0.4]))
    assert bare[row, column] == BACKGROUND
    assert dressed[row, column] in (UP_LEG, LOW_LEG)
    added = dressed[(bare == BACKGROUND) & (dressed != BACKGROUND)]
    assert len(added) > 50
    assert set(added) <= {TORSO, UP_LEG, LOW_LEG}


def test_what_is_worn_changes_colours_and_not_labels(t_posed: Body) -> None:
    red = np.array([1, 0, 0], np.float32)
    white, dressed = (
        render(silhouette(t_posed, trousers=plain(cloth), trouser_length=0.5), SIZE)
        for cloth in (WHITE, red)
    )
    assert (white[1] == dressed[1]).all()
    is_red = (dressed[0] == [255, 0, 0]).all(axis=2)
    assert is_red[dressed[1] == UP_LEG].mean() > 0.3
    assert not is_red[(dressed[1] == LOW_LEG) | (dressed[1] == HEAD)].any()


def test_random_scenes_stand_on_the_ground() -> None:
    for seed in range(5):
        scene = random_scene(np.random.default_rng(seed))
        lowest = [person.body.vertices[:, 2].min() for person in scene.people]
        assert lowest == pytest.approx([0] * len(scene.people), abs=1e-5)
        assert scene.camera.axes @ scene.camera.axes.T == pytest.approx(np.eye(3), abs=1e-6)
        assert np.linalg.det(scene.camera.axes) == pytest.approx(1)
        assert scene.camera.position[2] >= 0.1


def test_shares_of_the_parts_sum_to_one() -> None:
    parts = body_model().parts
    assert parts.shape == (len(body_model().rest), len(PARTS))
    assert parts.min() >= 0
    assert parts.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not parts[:, BACKGROUND].any()


@pytest.mark.parametrize(
    ("limb", "bones"),
    [
        ("arm", ("upperarm01", "lowerarm01", "wrist", "finger3-3")),
        ("leg", ("upperleg01", "lowerleg01", "foot", "toe2-3")),
    ],
)
def test_limbs_are_measured_from_0_to_3(limb: str, bones: tuple[str, ...]) -> None:
    model = body_model()
    along = getattr(model, limb)
    assert along.min() == 0
    assert along.max() == pytest.approx(3)
    for side in ("L", "R"):
        for wanted, bone in enumerate(bones):
            gap = np.linalg.norm(model.rest - model.rest_joints[f"{bone}.{side}"], axis=1)
            near = np.argsort(gap)[:20]
            assert along[near].mean() == pytest.approx(wanted, abs=0.25), (bone, side)
    assert not along[model.parts[:, [HEAD, TORSO]].sum(axis=1) > 0.75].any()


def test_a_bent_knee_moves_the_foot_backward_and_nothing_else() -> None:
    model = body_model()
    straight, bent = (
        model.pose({"lowerleg01.L": turn(LEFT, angle)}, ADULT).joints for angle in (0, 60)
    )
    moved = {bone for bone in bent if np.linalg.norm(bent[bone] - straight[bone]) > 1e-4}
    assert {"foot.L", "toe2-3.L"} <= moved
    assert all(bone.endswith(".L") and bone.startswith(("lower", "foot", "toe")) for bone in moved)
    assert bent["foot.L"][1] > straight["foot.L"][1] + 0.2
    assert bent["foot.L"][2] > straight["foot.L"][2] + 0.1


def test_a_turned_shoulder_takes_the_forearm_along(t_posed: Body) -> None:
    joints = t_posed.joints
    for side, sign in (("L", 1), ("R", -1)):
        reach = joints[f"wrist.{side}"] - joints[f"upperarm01.{side}"]
        assert reach / np.linalg.norm(reach) == pytest.approx(sign * LEFT, abs=1e-3)


def test_turn_is_right_handed() -> None:
    assert turn(2 * UP, 90) @ LEFT == pytest.approx(-FRONT)
    assert turn(LEFT, 30) @ LEFT == pytest.approx(LEFT)


def test_a_hand_in_the_trunk_or_crossed_knees_are_tangled(t_posed: Body) -> None:
    hand_in_trunk = body_model().pose(arm("L", -UP + 0.3 * FRONT, -LEFT), ADULT)
    knees = {"upperleg01.L": turn(FRONT, -15), "upperleg01.R": turn(FRONT, 15)}
    assert not _is_tangled(t_posed)
    assert _is_tangled(hand_in_trunk)
    assert _is_tangled(body_model().pose(t_pose() | knees, ADULT))
