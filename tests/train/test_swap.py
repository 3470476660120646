"""Left and right: what a flip exchanges, in training and in prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from segmenter_fixtures import random_image
from torch import Tensor
from train_fixtures import NO_JITTER, expert_params, packed_split

from final_model_stage.chain.views import predict
from final_model_stage.pipeline import check_params
from preprocessing_stage.dataset.class_tree import ClassTree, unlisted_sides
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.paths import OUT_OF_FOLD
from train_stage import predict_out_of_fold
from train_stage.dataset import Batch, ExpertSamples
from train_stage.expert_params import ExpertParams
from train_stage.params import MachineParams
from train_stage.parents import ParentPredictions
from train_stage.task import Task

SECTION = {"person": {"background": 0, "arms": {"left_arm": 1, "right_arm": 2}, "head": 3}}
SWAP = [["left_arm", "right_arm"]]


def test_places_after_a_flip() -> None:
    tree = ClassTree(SECTION, SWAP)
    assert tree.flipped("person") == [0, 2, 1, 3]
    assert tree.flipped("arms") == [1, 0]
    assert tree.flat().flipped("person") == [0, 2, 1, 3]
    assert ClassTree(SECTION).flipped("person") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("swap", "problem"),
    [
        ([["left_arm", "wing"]], "swap: 'wing' is no leaf of the tree"),
        ([["left_arm", "head"]], "swap: left_arm and head have different parents"),
        ([[["left_arm"], ["right_arm"]]], "swap: ['left_arm'], ['right_arm'] is no leaf"),
        ([["left_arm"]], "swap: ['left_arm'] is no pair of leaves"),
        ([["left_arm", "left_arm"]], "swap: left_arm or left_arm stands there twice"),
        ([*SWAP, *SWAP], "swap: left_arm or right_arm stands there twice"),
        ("left_arm", "swap: needs a list of pairs"),
    ],
)
def test_pairs_that_cannot_be_are_refused(swap: object, problem: str) -> None:
    with pytest.raises(ValueError, match="swap") as error:
        ClassTree(SECTION, swap)  # type: ignore[arg-type]
    assert str(error.value).startswith(problem)


def test_sides_that_are_in_no_pair_are_pointed_out() -> None:
    assert unlisted_sides(ClassTree(SECTION)) == [("left_arm", "right_arm")]
    assert unlisted_sides(ClassTree(SECTION, SWAP)) == []
    short = ClassTree({"person": {"l_arm": 1, "r_arm": 2, "foot_l": 3, "foot_r": 4, "bright": 5}})
    assert unlisted_sides(short) == [("foot_l", "foot_r"), ("l_arm", "r_arm")]
    twice = ClassTree(
        {"person": {"up_leg_l": 1, "up_leg_r": 2, "l_leg": 3, "hand": 4, "r_hand": 5}}
    )
    assert unlisted_sides(twice) == [("up_leg_l", "up_leg_r")]
    names = {"левая рука": 1, "правая рука": 2, "Левый глаз": 3, "Правый глаз": 4}
    russian = ClassTree({"person": {"фон": 0, "body": names}})
    pairs = [("Левый глаз", "Правый глаз"), ("левая рука", "правая рука")]
    assert unlisted_sides(russian) == pairs


def test_check_params_warns_of_them(
    params_file, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    file = params_file(tmp_path, **{"tree": SECTION, "data.folder": "arms"})
    monkeypatch.setattr("sys.argv", ["check_params", str(file)])
    monkeypatch.setattr(check_params, "listing_problems", lambda *_: [])
    check_params.main()
    assert "WARNING: left_arm and right_arm look like two sides" in capsys.readouterr().out


def two_arms() -> np.ndarray:
    """Label map (32, 32): both are as far from the edges, so a flip with exchanged sides changes
    nothing."""
    labels = np.zeros((32, 32), np.uint8)
    labels[8:24, 4:12], labels[8:24, 20:28] = 1, 2
    return labels


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackedSplit:
    monkeypatch.chdir(tmp_path)
    return packed_split(tmp_path, [(random_image(shape=(32, 32)), two_arms())])


def flipped_params(flip: int, **changes: Any) -> ExpertParams:
    jitter = {**NO_JITTER, "max_crop_scale": 1, "flip": flip}
    return expert_params("body", input_size=32, augmentation=jitter, **changes)


@pytest.mark.parametrize("flip", [0, 1])
def test_a_flipped_sample_has_its_sides_exchanged(split: PackedSplit, flip: int) -> None:
    tree = ClassTree(SECTION, SWAP)
    samples = ExpertSamples(split, tree, "person", flipped_params(flip), augment=True)
    target = samples[[(1, 0)]].target[0]
    assert torch.equal(target, torch.from_numpy(two_arms()).long())


@pytest.mark.parametrize("flip", [0, 1])
def test_a_flipped_sample_is_told_its_parent_with_sides_exchanged(
    split: PackedSplit, flip: int
) -> None:
    told = np.zeros((1, 4, 32, 32), np.uint8)
    told[:, 1:3, :, :16] = np.array([200, 55])[:, None, None]
    told[:, 1:3, :, 16:] = np.array([55, 200])[:, None, None]
    OUT_OF_FOLD.mkdir(parents=True)
    np.save(OUT_OF_FOLD / "train.npy", told)
    tree = ClassTree(SECTION, SWAP)
    model = {"parent_channels": True}
    params = flipped_params(flip, zoom=False, regions="predicted", parent_dropout=0, model=model)
    parents = ParentPredictions(split, tree, "arms", 0, torch.device("cpu"))
    samples = ExpertSamples(split, tree, "arms", params, augment=True, parents=parents)
    parent = samples[[(1, 0)]].parent
    assert parent is not None
    torch.testing.assert_close(parent[0], torch.from_numpy(told[0, 1:3]).float() / 255)


def out_of_fold(split: PackedSplit, tree: ClassTree, logits: Callable[[Batch], Tensor]) -> Tensor:
    """What a network that gives such logits predicts of the sample, (leaves, 16, 16)."""
    machine = MachineParams(devices=1, loader_workers=0)
    task = Task("fold_0", tree, "person", flipped_params(0), machine, Path("unused"))
    trainer = SimpleNamespace(fabric=SimpleNamespace(device=torch.device("cpu")), predict=logits)
    [(some, predicted)] = predict_out_of_fold.predict(task, trainer, split, [0], 16)
    assert some == [0]
    return torch.from_numpy(predicted[0])


def test_out_of_fold_a_network_that_follows_a_flip_is_averaged_with_itself(
    split: PackedSplit,
) -> None:
    def logits(batch: Batch) -> Tensor:
        return torch.cat([9 * batch.image, 9 * batch.region], 1)

    image = torch.from_numpy(split.image(0) / np.float32(255)).permute(2, 0, 1)
    expected = (9 * torch.cat([image, torch.ones(1, 32, 32)])).softmax(0)
    expected = torch.nn.functional.avg_pool2d(expected, 2)
    found = out_of_fold(split, ClassTree(SECTION), logits)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_out_of_fold_a_flipped_image_is_averaged_with_its_sides_exchanged(
    split: PackedSplit,
) -> None:
    """Of a network that calls whatever is on its left the left arm."""
    shares = torch.zeros(1, 4, 32, 32)
    shares[:, 1, :, :16] = shares[:, 2, :, 16:] = 1

    def logits(batch: Batch) -> Tensor:
        return 99 * shares

    aware = out_of_fold(split, ClassTree(SECTION, SWAP), logits)
    torch.testing.assert_close(aware, shares[0, :, ::2, ::2])
    unaware = out_of_fold(split, ClassTree(SECTION), logits)
    torch.testing.assert_close(unaware[1:3], torch.full((2, 16, 16), 0.5))


def test_a_flipped_view_is_averaged_with_its_sides_exchanged() -> None:
    """Of a network that calls whatever is on its left the left arm."""
    left = (torch.arange(8) < 4).float().expand(1, 8, 8)
    logits = 9 * torch.stack([left, 1 - left], 1)

    def network(crops: Tensor, masks: Tensor, parents: Tensor | None) -> Tensor:
        return logits.expand(len(crops), -1, -1, -1)

    crops, masks = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    found = predict(network, crops, masks, None, [1, 0])
    torch.testing.assert_close(found, logits.softmax(1))
    unaware = predict(network, crops, masks, None, [0, 1])
    torch.testing.assert_close(unaware, torch.full_like(unaware, 0.5))


def test_a_flipped_view_is_told_its_parent_with_sides_exchanged() -> None:
    """Of a network that repeats what it is told; its rejected share stays what it is."""
    told = torch.rand(1, 2, 8, 8)

    def network(crops: Tensor, masks: Tensor, parents: Tensor | None) -> Tensor:
        assert parents is not None
        return torch.cat([parents, torch.zeros_like(parents[:, :1])], 1)

    found = predict(network, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8), told, [1, 0])
    alone = predict(network, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8), told, None)
    torch.testing.assert_close(found, alone)
