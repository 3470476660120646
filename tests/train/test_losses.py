from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train_stage.losses import WeightedSplit, class_weights, cross_entropy, dice, expert_loss

WEIGHTS = torch.tensor([0.5, 1.5, 1.0])
LEAVES_ONLY = WeightedSplit(torch.eye(3, dtype=torch.bool), WEIGHTS, WEIGHTS)
TWO_OF_THREE = WeightedSplit(
    torch.tensor([[True, False, True], [False, True, False]]), WEIGHTS, torch.tensor([0.8, 1.2])
)


def random_batch(samples: int = 4) -> tuple[Tensor, Tensor]:
    """Logits (B, 3, 6, 6) and targets (B, 6, 6), of which a different share is ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(samples, 3, 6, 6, generator=generator)
    target = torch.randint(0, 3, (samples, 6, 6), generator=generator)
    for sample in range(samples):
        target[sample, : sample + 1] = 255
    return logits.requires_grad_(), target


@pytest.mark.parametrize(
    ("power", "expected"), [(0, [1, 0, 1]), (0.5, [4 / 3, 0, 2 / 3]), (1, [1.6, 0, 0.4])]
)
def test_class_weights_by_hand(power: float, expected: list[float]) -> None:
    weights = class_weights([100, 0, 400], power)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float32))


def test_cross_entropy_of_one_sample_is_the_weighted_mean() -> None:
    logits, target = random_batch(1)
    expected = F.cross_entropy(logits, target, WEIGHTS, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, target, WEIGHTS), expected[None])


def test_dice_by_hand() -> None:
    second = torch.tensor([[0.2, 0.6], [0.9, 0.5]])
    logits = torch.stack([1 - second, second])[None].log()
    target = torch.tensor([[[0, 1], [1, 255]]])
    dice_of_first = 2 * 0.8 / (0.8 + 0.4 + 0.1 + 1)
    dice_of_second = 2 * (0.6 + 0.9) / (0.2 + 0.6 + 0.9 + 2)
    expected = 1 - (dice_of_first + dice_of_second) / 2
    torch.testing.assert_close(dice(logits, target), torch.tensor([expected]))


def test_dice_does_not_count_absent_classes() -> None:
    second = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    logits = torch.stack([1 - second, second])[None].log()
    dice_of_first = 2 * 3 / (3 + 4)
    loss = dice(logits, torch.zeros(1, 2, 2, dtype=torch.long))
    torch.testing.assert_close(loss, torch.tensor([1 - dice_of_first]))


def test_ignored_pixels_have_no_gradient() -> None:
    logits, target = random_batch()
    expert_loss(logits, target, LEAVES_ONLY, 1.0).backward()
    ignored = (target == 255)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).all()


def test_a_sample_without_any_target_costs_nothing() -> None:
    logits, target = random_batch(1)
    loss = expert_loss(logits, torch.full_like(target, 255), LEAVES_ONLY, 1.0)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_dice_weight_scales_dice() -> None:
    logits, target = random_batch()
    expected = (cross_entropy(logits, target, WEIGHTS) + 0.3 * dice(logits, target)).mean()
    torch.testing.assert_close(expert_loss(logits, target, LEAVES_ONLY, 0.3), expected)


def test_a_child_is_as_likely_as_its_leaves_together() -> None:
    logits, target = random_batch()
    likely = logits.softmax(1)
    expected = torch.stack([likely[:, 0] + likely[:, 2], likely[:, 1]], 1)
    torch.testing.assert_close(TWO_OF_THREE.children(logits).softmax(1), expected)
    child = TWO_OF_THREE.child_of(target)
    assert child[target == 255].eq(255).all()
    assert child[target != 255].eq(target[target != 255] == 1).all()


def test_the_split_into_children_counts_beside_the_leaves() -> None:
    logits, target = random_batch()
    child = TWO_OF_THREE.children(logits), TWO_OF_THREE.child_of(target)
    of_children = cross_entropy(*child, TWO_OF_THREE.child_weights) + 0.3 * dice(*child)
    expected = expert_loss(logits, target, LEAVES_ONLY, 0.3) + of_children.mean()
    torch.testing.assert_close(expert_loss(logits, target, TWO_OF_THREE, 0.3), expected)


def test_without_leaf_weights_the_children_alone_count() -> None:
    logits, target = random_batch()
    split = replace(TWO_OF_THREE, leaf_weights=None).to(torch.device("cpu"))
    child = TWO_OF_THREE.children(logits), TWO_OF_THREE.child_of(target)
    expected = cross_entropy(*child, TWO_OF_THREE.child_weights) + 0.3 * dice(*child)
    torch.testing.assert_close(expert_loss(logits, target, split, 0.3), expected.mean())
    rejecting = split.with_rejected()
    assert rejecting.leaf_weights is None
    assert rejecting.child_weights.tolist() == pytest.approx([0.8, 1.2, 1])


def test_halves_of_a_batch_average_to_its_loss_and_gradient() -> None:
    logits, target = random_batch()
    whole = expert_loss(logits, target, LEAVES_ONLY, 1.0)
    (gradient,) = torch.autograd.grad(whole, logits)
    parts = zip(logits.split(2), target.split(2), strict=True)
    halves = torch.stack([expert_loss(*part, LEAVES_ONLY, 1.0) for part in parts]).mean()
    torch.testing.assert_close(halves, whole)
    torch.testing.assert_close(torch.autograd.grad(halves, logits)[0], gradient)
