from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import Tensor
from train_fixtures import NO_JITTER, TREE, expert_params, packed_split

from train_stage.augmentation import random_frames, random_numbers
from train_stage.dataset import ExpertSamples
from train_stage.expert_params import AugmentationParams
from train_stage.regions import (
    box_frame,
    pixel_centres,
    region_box,
    unwarp,
    warp,
    whole_image,
)


def rectangle(rows: slice, columns: slice) -> Tensor:
    region = torch.zeros(40, 50, dtype=torch.bool)
    region[rows, columns] = True
    return region


def view_of(image: Tensor, frame: Tensor, size: int) -> Tensor:
    return warp(image[None], frame[None], pixel_centres(size))[0]


def frame_near(box: Tensor, params: AugmentationParams, seed: int) -> Tensor:
    drawn = random_numbers(seed, [1], [0])
    return random_frames(box[None], params, drawn.frame, drawn.flip < params.flip)[0]


def jitter(**changes: float) -> AugmentationParams:
    return AugmentationParams(**NO_JITTER | changes)


def test_box_has_a_margin_of_the_longer_side() -> None:
    box = region_box(rectangle(slice(10, 20), slice(5, 21)), 0.25, max_aspect=2)  # 10 high, 16 wide
    assert box.tolist() == [5 - 4, 10 - 4, 21 + 4, 20 + 4]


def test_box_of_a_strip_is_widened_before_the_margin() -> None:
    strip = rectangle(slice(10, 14), slice(4, 24))  # 4 high, 20 wide: widened to 10
    assert region_box(strip, 0.1, max_aspect=2).tolist() == [4 - 2, 12 - 5 - 2, 24 + 2, 12 + 5 + 2]
    assert region_box(strip.T, 0.1, max_aspect=2).tolist() == [5, 2, 19, 26]


regions = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=30)).filter(np.any)


@given(regions, st.floats(0, 1), st.floats(1, 4))
def test_box_contains_every_pixel_of_the_region(
    region: np.ndarray, margin: float, max_aspect: float
) -> None:
    box = region_box(torch.from_numpy(region), margin, max_aspect)
    left, top, right, bottom = box.tolist()
    rows, columns = np.nonzero(region)
    assert left <= columns.min() + 1e-4 and columns.max() + 1 <= right + 1e-4
    assert top <= rows.min() + 1e-4 and rows.max() + 1 <= bottom + 1e-4
    sides = sorted([right - left, bottom - top])
    assert sides[1] <= max_aspect * sides[0] + 1e-3


@pytest.mark.parametrize("size", [40, 24])
def test_warp_of_the_whole_image_is_a_plain_resize(size: int) -> None:
    image = torch.rand(3, 40, 56)
    resized = F.interpolate(image[None], (size, size), mode="bilinear")[0]
    torch.testing.assert_close(view_of(image, box_frame(whole_image(40, 56)), size), resized)


def test_warp_of_a_box_on_the_pixel_grid_is_a_crop() -> None:
    image = torch.rand(3, 40, 56)
    frame = box_frame(torch.tensor([10.0, 5, 30, 25]))
    torch.testing.assert_close(view_of(image, frame, 20), image[:, 5:25, 10:30])


def test_warp_is_zero_outside_the_image() -> None:
    frame = box_frame(torch.tensor([-10.0, -10, 10, 10]))
    seen = view_of(torch.ones(1, 10, 10), frame, 20)
    expected = torch.zeros(1, 20, 20)
    expected[:, 10:, 10:] = 1
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("changes", [{}, {"rotation": 30}, {"flip": 1, "aspect": 0.5}])
def test_warp_is_what_torch_makes_of_the_frame(changes: dict[str, float]) -> None:
    image = torch.rand(3, 60, 80)
    frame = frame_near(torch.tensor([20.0, 10, 70, 50]), jitter(**changes), 1)
    theta = frame * torch.tensor([[2 / 80], [2 / 60]]) - torch.tensor([[0, 0, 1.0]])
    grid = F.affine_grid(theta[None], [1, 3, 24, 24], align_corners=False)
    expected = F.grid_sample(image[None], grid, align_corners=False)[0]
    torch.testing.assert_close(view_of(image, frame, 24), expected)


def test_unwarp_undoes_warp() -> None:
    y, x = torch.meshgrid(torch.arange(60) / 9, torch.arange(80) / 9, indexing="ij")
    image = (torch.sin(x) + torch.cos(y))[None]
    box = torch.tensor([20.0, 10, 70, 50])
    back = unwarp(view_of(image, box_frame(box), 96), box, 60, 80)
    torch.testing.assert_close(back[:, 10:50, 20:70], image[:, 10:50, 20:70], atol=0.01, rtol=0)


def test_unwarp_continues_the_border() -> None:
    back = unwarp(torch.full((1, 8, 8), 3.0), torch.tensor([4.0, 4, 6, 6]), 10, 12)
    assert back.shape == (1, 10, 12)
    assert (back == 3).all()


def test_an_empty_region_has_a_finite_view() -> None:
    box = region_box(torch.zeros(7, 9, dtype=torch.bool), 0.1, max_aspect=2)
    view = view_of(torch.ones(1, 7, 9), box_frame(box), 4)
    assert torch.isfinite(view).all() and torch.isfinite(unwarp(view, box, 7, 9)).all()


def test_a_frame_without_jitter_is_the_box_or_up_to_a_tenth_larger() -> None:
    box = torch.tensor([10.0, 20, 50, 40])
    for seed in range(50):
        frame = frame_near(box, jitter(), seed)
        scale = frame[:, :2] / box_frame(box)[:, :2].diagonal()[:, None]
        assert scale[0, 1] == scale[1, 0] == 0
        assert 1 <= scale[0, 0] <= 1.1
        assert scale[0, 0].item() == pytest.approx(scale[1, 1].item())
        shift = (frame[:, 2] - box_frame(box)[:, 2]).abs()
        assert (shift <= torch.tensor([40, 20]) * 0.05).all()


def sides_near(box: Tensor, params: AugmentationParams) -> Tensor:
    """Widths and heights (2, 2000) of upright frames, as shares of the box's."""
    drawn = random_numbers(0, [1] * 2000, range(2000))
    upright = np.zeros(2000, bool)
    frames = random_frames(box.expand(2000, 4), params, drawn.frame, upright)
    return frames[:, :, :2].diagonal(dim1=1, dim2=2).T / box_frame(box).diagonal()[:, None]


def test_a_crop_has_between_the_least_and_the_largest_side_of_the_params() -> None:
    box = torch.tensor([10.0, 20, 50, 40])
    width, height = sides_near(box, jitter(min_crop_scale=0.5, max_crop_scale=1.2))
    torch.testing.assert_close(width, height)
    assert 0.5 <= width.min() < 0.51
    assert 1.19 < width.max() <= 1.2
    # Areas are uniform from 0.25 to 1.44.
    assert (width**2).mean().item() == pytest.approx(0.845, abs=0.03)


def test_a_crop_is_stretched_up_to_the_params_and_keeps_its_area() -> None:
    box = torch.tensor([10.0, 20, 50, 40])
    width, height = sides_near(box, jitter(max_crop_scale=1, aspect=0.5))
    torch.testing.assert_close(width * height, torch.ones(2000))
    assert 1 / 1.5 <= (width / height).min() < 0.67
    assert 1.49 < (width / height).max() <= 1.5


def test_rotation_turns_without_shearing() -> None:
    box = torch.tensor([10.0, 20, 50, 40])
    angles = set()
    for seed in range(50):
        x, y = frame_near(box, jitter(rotation=20), seed)[:, :2].T
        assert abs(x @ y) < 1e-3
        assert (x.norm() / y.norm()).item() == pytest.approx(2)
        angles.add(round(torch.rad2deg(torch.atan2(x[1], x[0])).item()))
    assert min(angles) < -15 and max(angles) > 15
    assert max(map(abs, angles)) <= 20


def test_flip_exchanges_left_and_right() -> None:
    image, box = torch.rand(3, 30, 30), torch.tensor([5.0, 5, 25, 25])
    plain, flipped = (frame_near(box, jitter(flip=flip), 0) for flip in (0, 1))
    torch.testing.assert_close(view_of(image, flipped, 20), view_of(image, plain, 20).flip(2))


def test_image_region_and_target_stay_aligned(tmp_path) -> None:
    """Red tells the child, green the region: wherever both are certain, target says the same."""
    labels = np.zeros((48, 64), np.uint8)
    labels[10:24, 12:50] = 1
    labels[24:40, 12:50] = 2
    image = np.zeros((48, 64, 3), np.uint8)
    image[24:, :, 0] = 255
    image[labels > 0, 1] = 255
    changes = {"flip": 0.5, "min_crop_scale": 0.6, "aspect": 0.25, "rotation": 30}
    params = expert_params(input_size=64, augmentation=NO_JITTER | changes)
    samples = ExpertSamples(
        packed_split(tmp_path, [(image, labels)]), TREE, "body", params, augment=True
    )
    for epoch in range(20):
        batch = samples[[(epoch, 0)]]
        region, target = batch.region[0], batch.target[0]
        red, green, _ = batch.image[0]
        certain = (green < 0.2) | (green > 0.8)
        assert torch.equal(region[0][certain], (green > 0.5).float()[certain])
        assert torch.equal(target == 255, region[0] == 0)
        inside = (region[0] == 1) & (green > 0.8) & ((red < 0.45) | (red > 0.55))
        assert inside.sum() > 400
        assert torch.equal(target[inside], (red > 0.5).long()[inside])
