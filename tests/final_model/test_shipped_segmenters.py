"""The segmenters that come with the repo: PyTorch and the committed graphs give the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from final_model_stage.onnx_segmenter import OnnxSegmenter
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.dataset_folder import read_image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A man in front of a fence, and one at the edge."""
    return read_image(ROOT / "docs/images/example.jpg")[217:357, 16:202]


@pytest.mark.parametrize(
    ("name", "fast"),
    [
        ("default", False),
        ("default", True),
        pytest.param("from_scratch", False, marks=pytest.mark.slow),
    ],
)
def test_the_committed_graph_gives_what_pytorch_gives(
    photograph: np.ndarray, name: str, fast: bool
) -> None:
    folder = ROOT / "pretrained" / name
    found = OnnxSegmenter.of_folder(folder, fast=fast).segment(photograph)
    expected = TorchSegmenter.load(folder, "32-true", fast=fast, device="cpu").segment(photograph)
    assert set(np.unique(expected.labels)) == {leaf.id for leaf in expected.tree.leaves}
    apart = np.abs(found.leaf_probabilities - expected.leaf_probabilities).max(0)
    # A pixel whose two best classes are as likely may go either way, and others follow it.
    assert np.quantile(apart, 0.999) < 1e-3
    assert (found.labels == expected.labels).mean() > 0.999
