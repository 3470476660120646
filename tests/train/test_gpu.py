"""What only a GPU shows: trainings and predictions there are those of the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segmenter_fixtures import REJECTING, TREES, make_segmenter, random_image
from train_fixtures import write_project
from train_runs import history, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


def test_a_training_goes_as_on_the_cpu(tmp_path: Path) -> None:
    losses = []
    for name in ("cuda", "cpu"):
        (tmp_path / name).mkdir()
        write_project(tmp_path / name, model={"dropout": 0.0, "norm": "batch"})
        train(tmp_path / name, gpu=name == "cuda")
        losses.append([(row["loss"], row["val_loss"]) for row in history(tmp_path / name)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.01)


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
def test_labels_are_those_of_the_cpu(tree) -> None:
    options = {"tta_views": True, "tta_flip": True, "below_root": REJECTING, "region_dilation": 2}
    images = [random_image(seed, shape=(40, 60)) for seed in range(6)]
    here, there = (make_segmenter(tree, device=device, **options) for device in ("cuda", "cpu"))
    equal = [
        (one == other).mean()
        for (one, _), (other, _) in zip(here.predict(images), there.predict(images), strict=True)
    ]
    assert np.mean(equal) > 0.999
