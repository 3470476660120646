"""The foreground of other samples, pasted over those of a network that sees whole images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from train_fixtures import NO_JITTER, TREE, draw_pairs, expert_params, packed_split

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.packed_samples import PackedSplit
from train_stage.augmentation import random_numbers
from train_stage.dataset import Batch, ExpertSamples

STILL = NO_JITTER | {"max_crop_scale": 1}
EPOCHS = range(1, 9)


@pytest.fixture
def split(tmp_path: Path) -> PackedSplit:
    return packed_split(tmp_path, draw_pairs(5))


def samples(
    split: PackedSplit, expert: str = "person", tree: ClassTree = TREE, **augmentation: Any
) -> ExpertSamples:
    params = expert_params(expert, augmentation=STILL | augmentation)
    left_out = frozenset({"train_1"})
    return ExpertSamples(split, tree, expert, params, augment=True, without=left_out)


def over(batch: Batch, other: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and target of a batch below the foreground of another one."""
    foreground = other.target > 0
    image = torch.where(foreground[:, None], other.image, batch.image)
    return image, torch.where(foreground, other.target, batch.target)


@pytest.mark.parametrize("flip", [0, 1])
def test_the_foreground_of_the_drawn_sample_lies_over_each(split: PackedSplit, flip: int) -> None:
    plain, pasted = samples(split), samples(split, flip=flip, copy_paste=1)
    donors = set()
    for epoch in EPOCHS:
        drawn = random_numbers(0, [epoch], [pasted.used[2]])
        donor = int(drawn.paste[0, 1] * 4)
        donors.add(donor)
        image, target = over(plain[[(epoch, 2)]], plain[[(epoch, donor)]])
        batch = pasted[[(epoch, 2)]]
        torch.testing.assert_close(batch.image.flip(-1) if flip else batch.image, image)
        assert torch.equal(batch.target.flip(-1) if flip else batch.target, target)
    assert pasted.used == [0, 2, 3, 4], "what is left out is pasted nowhere"
    assert len(donors) > 1


def test_as_many_samples_as_the_params_say_are_pasted_over(split: PackedSplit) -> None:
    keys = [(epoch, 0) for epoch in range(200)]
    plain, some = samples(split)[keys], samples(split, copy_paste=0.3)[keys]
    differ = (plain.target != some.target).flatten(1).any(1).float().mean().item()
    # A sample of four is pasted over itself, which changes nothing.
    assert differ == pytest.approx(0.3 * 3 / 4, abs=0.08)


def test_pasted_frames_are_drawn_too(tmp_path: Path) -> None:
    """A sample that is pasted over itself is a person twice where crops differ."""
    alone = packed_split(tmp_path, draw_pairs(1))
    pasted = samples(alone, copy_paste=1, min_crop_scale=0.4, max_crop_scale=1)
    one = samples(alone, min_crop_scale=0.4, max_crop_scale=1)
    pairs = [(pasted[[(epoch, 0)]], one[[(epoch, 0)]]) for epoch in EPOCHS]
    assert all((p.target > 0).sum() >= (o.target > 0).sum() for p, o in pairs)
    assert sum(not torch.equal(p.target, o.target) for p, o in pairs) > 5


def test_below_the_root_nothing_is_pasted(split: PackedSplit) -> None:
    keys = [(epoch, 0) for epoch in EPOCHS]
    plain, pasted = (samples(split, "body", copy_paste=share)[keys] for share in (0, 1))
    assert torch.equal(plain.image, pasted.image) and torch.equal(plain.target, pasted.target)


def test_without_a_background_nothing_is_pasted(split: PackedSplit) -> None:
    tree = ClassTree({"person": {"upper": 1, "lower": 2}})
    keys = [(epoch, 0) for epoch in EPOCHS]
    plain, pasted = (samples(split, tree=tree, copy_paste=share)[keys] for share in (0, 1))
    assert torch.equal(plain.image, pasted.image)
    assert np.array_equal(plain.target, pasted.target)
