"""The graph that is exported gives what the segmenter gives, for images and regions of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_files import photograph
from export_images import images
from tiny_segmenter import TREE, tiny_segmenter

from deploy.export.graph import ChainGraph, Networks
from final_model_stage.chain.runner import Runner
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.shrink import shrink

pytestmark = pytest.mark.slow

DEEP = ClassTree(
    {"scene": {"none": 0, "thing": {"tail": 9, "animal": {"front": {"l": 7, "r": 30}, "back": 4}}}}
)


def graph_of(segmenter: TorchSegmenter) -> ChainGraph:
    return ChainGraph(segmenter.settings, Networks(segmenter.experts))


@pytest.mark.parametrize("size", [(40, 60), (300, 500), (60, 60), (31, 32), (90, 61)])
def test_it_shrinks_like_pillow(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    graph = graph_of(tiny_segmenter())
    small = graph._shrink(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    expected = shrink(image, 32)
    assert tuple(small.shape) == (1, 3, *expected.shape[:2])
    difference = np.abs(small[0].permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("tree", [TREE, DEEP], ids=["people", "deep"])
@pytest.mark.parametrize("mode", ["hard", "product"])
@pytest.mark.parametrize(("tta", "stride"), [(False, 1), (True, 1), (False, 3), (True, 2)])
def test_the_graph_gives_what_the_segmenter_gives(
    mode: str, tta: bool, stride: int, tree: ClassTree
) -> None:
    segmenter = tiny_segmenter(mode, tree=tree, tta=tta, grid_stride=stride)
    graph = graph_of(segmenter)
    for image in images():
        with torch.inference_mode():
            probabilities, labels = graph(torch.from_numpy(image))
        expected = segmenter.segment(image)
        np.testing.assert_allclose(
            probabilities.numpy(), expected.leaf_probabilities, atol=1e-4, rtol=0
        )
        assert (labels.numpy() == expected.labels).mean() > 0.999
        assert labels.dtype == torch.uint8


@pytest.mark.parametrize(
    ("size", "most"),
    # The whole image, both ends of an oblong one, and the foreground.
    [((28, 32), 4), ((32, 32), 2)],
)
def test_the_graph_has_the_views_of_the_segmenter(
    size: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = 0
    predict = Runner.predict

    def count(self: TorchSegmenter, images: list, some: list, watch=None) -> list:
        nonlocal views
        views += sum(view.expert == "person" for view in some)
        return predict(self, images, some, watch)

    monkeypatch.setattr(Runner, "predict", count)
    image = np.array(photograph(size, 3))
    taken = set()
    for shift in np.linspace(0, 6, 25):  # the foreground shrinks until there is none
        segmenter = tiny_segmenter(tta=True)
        with torch.no_grad():
            segmenter.experts["person"].head.bias[0] += shift
        views = 0
        expected = segmenter.segment(image)
        taken.add(views)
        probabilities, labels = graph_of(segmenter)(torch.from_numpy(image))
        np.testing.assert_allclose(
            probabilities.detach(), expected.leaf_probabilities, atol=1e-4, rtol=0
        )
        assert (labels.numpy() == expected.labels).all()
    assert taken == {most - 1, most}  # with and without the foreground


def test_experts_without_a_region_change_nothing() -> None:
    segmenter = tiny_segmenter()
    with torch.no_grad():  # all is background
        segmenter.experts["person"].head.bias[0] += 99
    image = images()[1]
    _, labels = graph_of(segmenter)(torch.from_numpy(image))
    assert not labels.any() and not segmenter(image).any()


def test_mc_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match="3 MC-dropout samples"):
        graph_of(tiny_segmenter(mc_dropout_samples=3))
