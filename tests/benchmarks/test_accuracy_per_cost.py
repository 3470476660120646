"""Accuracy against cost is that of the segmenter in its modes, and of its root alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from segmenter_fixtures import make_segmenter
from torch import nn

from benchmarks.accuracy_per_cost import (
    CHAIN,
    MODES,
    ROOT_ALONE,
    in_mode,
    main,
    multiply_adds,
)
from final_model_stage.torch_segmenter import TorchSegmenter

ROOT = Path(__file__).parents[2]
BUDGET = 3.0e9
"""Multiply-adds of one view by each expert."""


def test_multiply_adds_of_a_convolution():
    layer, image = nn.Conv2d(3, 8, 3, padding=1), torch.rand(1, 3, 10, 20)
    assert multiply_adds(lambda: layer(image)) == 8 * 3 * 9 * 10 * 20


@pytest.fixture
def segmenter(tree) -> TorchSegmenter:
    return make_segmenter(tree, mode="product")


def test_the_root_alone_decides_by_its_own_probabilities(segmenter):
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    alone, chain = (in_mode(segmenter, network, "one view") for network in (ROOT_ALONE, CHAIN))
    assert list(alone.experts) == [segmenter.tree.root.name]
    [probabilities] = chain.predict_root([image])
    full = nn.functional.interpolate(probabilities[None], image.shape[:2], mode="bilinear")[0]
    ids = np.array([leaf.id for leaf in segmenter.tree.leaves])
    assert np.array_equal(alone(image), ids[full.argmax(0).numpy()])


def test_all_modes_are_measured(segmenter, make_dataset, tmp_path, capsys):
    segmenter.save(tmp_path / "mine")
    data = make_dataset(tmp_path / "data", train=1, val=3)
    arguments = [str(data.path), str(tmp_path / "mine"), "--out", str(tmp_path / "out")]
    main([*arguments, "--photographs", "1", "--repeats", "1"])
    points = json.loads((tmp_path / "out/accuracy_per_cost.json").read_text())["points"]
    printed = capsys.readouterr().out
    assert len(points) == 2 * len(MODES)
    # By its path: another folder may be called alike.
    assert printed.count(f"| {tmp_path / 'mine'} |") == 3 * len(MODES)
    for mode in MODES:
        alone, chain = (p for p in points if p["mode"] == mode)
        more = chain["miou"]["mIoU_1"] - alone["miou"]["mIoU_1"]
        interval = chain["over_root"]["mIoU_1"]
        assert interval["low"] <= round(more, 6) <= interval["high"]
        assert f"{more:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]" in printed
    costs = {(point["network"], point["mode"]): point["giga_multiply_adds"] for point in points}
    for mode in MODES:
        assert 0 < costs[ROOT_ALONE, mode] < costs[CHAIN, mode]
    # Twice as many views go through the network, as many are pasted.
    flipped, upright = (costs[ROOT_ALONE, m] for m in ("all views, flipped too", "all views"))
    assert 1.5 * upright < flipped < 2 * upright
    assert "</svg>" in (tmp_path / "out/accuracy_per_cost.svg").read_text()


def test_one_view_by_each_expert_of_the_default_is_within_the_budget():
    segmenter = TorchSegmenter.load(ROOT / "pretrained/default")
    total = 0
    for name, expert in segmenter.experts.items():
        side = segmenter.settings.experts[name].input_size
        image, region = torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side)
        told = torch.zeros(1, expert.parent_channels, side, side)
        parent = told if expert.parent_channels else None
        total += multiply_adds(partial(expert, image, region, parent))
    assert total < BUDGET
