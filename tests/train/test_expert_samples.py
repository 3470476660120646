from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as colour
from train_fixtures import (
    NO_JITTER,
    TREE,
    draw_pair,
    draw_pairs,
    expert_params,
    packed_split,
    write_packed,
)

from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import UserError
from train_stage.augmentation import random_colours
from train_stage.dataset import Batch, EpochBatches, ExpertSamples
from train_stage.loaders import Loaders, make_loaders
from train_stage.params import MachineParams
from train_stage.task import Task


def equal(one: Batch, other: Batch) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs if a is not None)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> PackedSplit:
    return packed_split(tmp_path_factory.mktemp("data"), draw_pairs(4))


def samples(
    split: PackedSplit, expert: str = "person", augment: bool = True, **changes: Any
) -> ExpertSamples:
    return ExpertSamples(split, TREE, expert, expert_params(**changes), augment=augment)


def test_a_sample_depends_on_seed_epoch_and_index_only(split: PackedSplit) -> None:
    first, second = samples(split, seed=5), samples(split, seed=5)
    keys = [(epoch, index) for epoch in (1, 2) for index in range(4)]
    forward = {key: first[[key]] for key in keys}
    torch.manual_seed(1)
    np.random.seed(1)
    backward = {key: second[[key]] for key in reversed(keys)}
    assert all(equal(forward[key], backward[key]) for key in keys)
    assert not equal(forward[1, 0], forward[2, 0])
    assert not equal(forward[1, 0], forward[1, 1])
    assert not equal(forward[1, 0], samples(split, seed=6)[[(1, 0)]])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_worker_processes_change_neither_samples_nor_order(
    split: PackedSplit, workers: int
) -> None:
    batches = EpochBatches(4, 1, seed=0)
    here, there = (
        list(DataLoader(samples(split), sampler=batches, batch_size=None, num_workers=number))
        for number in (0, workers)
    )
    assert len(here) == 4
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)


def test_validation_samples_are_the_same_in_every_epoch(split: PackedSplit) -> None:
    val = samples(split, augment=False)
    assert equal(val[[(0, 1)]], val[[(7, 1)]])


def test_shapes_and_ranges(split: PackedSplit) -> None:
    bright = {"brightness": 0.9, "contrast": 0.9, "saturation": 0.9}
    train = samples(split, "body", augmentation=bright)
    for epoch in range(5):
        batch = train[[(epoch, 0), (epoch, 1)]]
        image, region, target = batch.image, batch.region, batch.target
        assert image.shape == (2, 3, 32, 32) and image.dtype == torch.float32
        assert image.min() >= 0 and image.max() <= 1
        assert region.shape == (2, 1, 32, 32) and set(region.unique().tolist()) <= {0.0, 1.0}
        assert target.shape == (2, 32, 32) and target.dtype == torch.int64
        assert set(target.unique().tolist()) <= {0, 1, 255}


def test_the_root_sees_all_of_the_image_its_ignored_pixels_too(tmp_path: Path) -> None:
    image, labels = draw_pair(np.random.default_rng(0))
    labels[:8] = 255
    split = packed_split(tmp_path, [(image, labels)])
    batch = samples(split, augment=False, input_size=40)[[(0, 0)]]
    region, target = batch.region[0], batch.target[0]
    assert (region == 1).all()
    assert (target[:8] == 255).all()
    nearest = np.arange(0.5, 40) * 48 / 40
    assert torch.equal(target[8:], torch.from_numpy(labels[8:, nearest.astype(int)]).long())


def test_children_see_samples_with_their_region_in_its_box(tmp_path: Path) -> None:
    image, labels = draw_pair(np.random.default_rng(0))
    empty = np.zeros_like(labels)
    ignored = np.where(labels == 2, 255, labels).astype(np.uint8)
    split = packed_split(tmp_path, [(image, empty), (image, labels), (image, ignored)])
    assert samples(split).used == [0, 1, 2]
    body = samples(split, "body", augment=False, box_margin=0.1)
    assert body.used == [1, 2]
    batch = body[[(0, 0), (0, 1)]]
    region, target = batch.region[0], batch.target[0]
    assert torch.equal(target != 255, region[0] == 1)
    assert set(target[region[0] == 1].tolist()) == {0, 1}
    rows = np.flatnonzero(region[0].any(1))
    assert rows[0] == pytest.approx(32 * 0.1 / 1.2, abs=1)
    assert rows[-1] + 1 == pytest.approx(32 * 1.1 / 1.2, abs=1)
    assert set(batch.target[1].unique().tolist()) == {0, 255}  # what is ignored is no region


def test_no_sample_with_the_region_is_an_error(tmp_path: Path) -> None:
    image, labels = draw_pair(np.random.default_rng(0))
    split = packed_split(tmp_path, [(image, np.zeros_like(labels))])
    with pytest.raises(UserError, match="expert body: no sample of the train split contains"):
        samples(split, "body")


def test_samples_left_out_are_counted_in_their_own_split(tmp_path: Path) -> None:
    split = packed_split(tmp_path, draw_pairs(2))
    gray = frozenset({"train_0", "train_1", "val_0", "val_1", "val_2"})
    with pytest.raises(UserError, match=r"contains its region, but for the 2 left out by `gray:"):
        ExpertSamples(split, TREE, "body", expert_params("body"), augment=True, without=gray)


def test_a_batch_norm_of_a_single_value_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one sample too, whatever batch_size says."""
    write_packed(tmp_path, {"train": draw_pairs(1), "val": draw_pairs(1)})
    monkeypatch.chdir(tmp_path)
    model = {"norm": "batch", "stem_stride": 4, "depth": 4}
    with pytest.raises(UserError, match=r"^experts.person.input_size: 32 is one pixel .* 1 sample"):
        loaders(model=model)
    loaders(model=model | {"norm": "layer"})
    loaders(model=model | {"depth": 3})


def loaders(**changes: Any) -> Loaders:
    fabric = Fabric(accelerator="cpu", devices=1)
    machine = MachineParams(devices=1, loader_workers=0)
    task = Task("person", TREE, "person", expert_params(**changes), machine, Path("unused"))
    return make_loaders(task, fabric)


@pytest.mark.parametrize(
    ("gray", "used", "share"),
    [("keep", [0, 1, 2, 3], 0), ("drop", [0, 2, 3], 0), ("match", [0, 1, 2, 3], 0.25)],
)
def test_gray_samples_are_kept_dropped_or_matched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gray: str, used: list[int], share: float
) -> None:
    splits = {"train": draw_pairs(4), "val": draw_pairs(2)}
    write_packed(tmp_path, splits, gray=("train_1", "val_0"))
    monkeypatch.chdir(tmp_path)
    both = loaders(gray=gray)
    assert both.train.dataset.used == used
    assert both.train.dataset.gray_share == share
    assert both.val.dataset.used == [0, 1]


def test_colours_without_jitter_stay() -> None:
    params, drawn = expert_params(augmentation=NO_JITTER).augmentation, np.full((2, 4), 0.9)
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(random_colours(images, params, 0, drawn), images)


def test_colours_change_as_those_of_torchvision() -> None:
    jitter = NO_JITTER | {"brightness": 0.5, "contrast": 0.4, "saturation": 0.3}
    params = expert_params(augmentation=jitter).augmentation
    images, drawn = torch.rand(2, 3, 8, 8), np.array([[0.1, 0.8, 0.3, 1], [0.9, 0.2, 0.7, 1]])
    for image, seen, numbers in zip(
        images, random_colours(images, params, 0, drawn), drawn, strict=True
    ):
        brightness, contrast, saturation = (2 * numbers[:3] - 1) * [0.5, 0.4, 0.3] + 1
        image = colour.adjust_brightness(image, brightness)
        image = colour.adjust_contrast(image, contrast)
        image = colour.adjust_saturation(image, saturation)
        torch.testing.assert_close(seen, image, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.5, 5, 35), (1, 40, 40)])
def test_as_many_samples_turn_gray(split: PackedSplit, share: int, least: int, most: int) -> None:
    params = expert_params(augmentation=NO_JITTER)
    train = ExpertSamples(split, TREE, "person", params, augment=True, gray_share=share)
    images = [train[[(epoch, 0)]].image[0] for epoch in range(40)]
    grays = [(image.amax(0) - image.amin(0)).max() < 1e-6 for image in images]
    assert least <= sum(grays) <= most


def test_class_weights_come_from_the_pixels_of_leaves_and_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = draw_pairs(3)
    write_packed(tmp_path, {"train": pairs, "val": pairs[:1]})
    monkeypatch.chdir(tmp_path)
    split = loaders(loss={"class_weight_power": 1}).split
    body = sum((labels > 0).mean() for _, labels in pairs) / 3
    expected = torch.tensor([2 * body, 2 * (1 - body)]).float()
    torch.testing.assert_close(split.child_weights, expected)
    rarity = 1 / np.array([np.mean([labels == i for _, labels in pairs]) for i in range(3)])
    expected = torch.from_numpy(3 * rarity / rarity.sum()).float()
    torch.testing.assert_close(split.leaf_weights, expected)
    assert split.leaves.tolist() == [[True, False, False], [False, True, True]]
    of_children = loaders(loss={"class_weight_power": 1}, model={"targets": "children"}).split
    assert of_children.leaf_weights is None
    assert torch.equal(of_children.child_weights, split.child_weights)


def epoch_of(epoch: int, **options: Any) -> list[list[tuple[int, int]]]:
    batches = EpochBatches(11, 4, **options)
    batches.epoch = epoch
    return list(batches)


def test_batches_are_full_and_without_repeats() -> None:
    batches = epoch_of(3, seed=0)
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(EpochBatches(11, 4, seed=0)) == 2
    keys = [key for batch in batches for key in batch]
    assert len(set(keys)) == 8
    assert {epoch for epoch, _ in keys} == {3}


def test_each_epoch_and_seed_has_its_order() -> None:
    orders = [
        [index for batch in epoch_of(epoch, seed=seed) for _, index in batch]
        for epoch, seed in [(1, 0), (2, 0), (1, 1)]
    ]
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_of(1, seed=0) == epoch_of(1, seed=0)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_have_equal_shares_of_each_batch_of_one(processes: int) -> None:
    shares = [epoch_of(1, seed=0, rank=r, processes=processes) for r in range(processes)]
    for batch, parts in zip(epoch_of(1, seed=0), zip(*shares, strict=True), strict=True):
        assert sorted(key for part in parts for key in part) == sorted(batch)
        assert {len(part) for part in parts} == {4 // processes}


def test_processes_validate_every_sample_once() -> None:
    """Also if the last batch has fewer samples than there are processes."""
    shares = [list(EpochBatches(9, 4, seed=None, rank=r, processes=4)) for r in range(4)]
    assert all(batch for batches in shares for batch in batches)
    keys = [key for batches in shares for batch in batches for key in batch]
    assert sorted(keys) == [(0, index) for index in range(9)]


def test_validation_keeps_order_and_the_last_smaller_batch() -> None:
    assert epoch_of(0, seed=None) == [
        [(0, index) for index in some] for some in (range(4), range(4, 8), range(8, 11))
    ]


def test_a_set_smaller_than_one_batch_is_a_batch() -> None:
    assert [len(batch) for batch in EpochBatches(3, 16, seed=0)] == [3]
