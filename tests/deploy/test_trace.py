"""The trace on the page is what happened in the chain."""

import numpy as np
import pytest
import torch
from segmenter_fixtures import REJECTING, TREES, make_segmenter
from torch import nn

from deploy.demo.response import coloured, input_image, packed, response, shares
from deploy.demo.trace import TracedView, segment_with_trace

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 44, 3), np.uint8)


class RedIsBody(nn.Module):
    """An expert that assigns whatever is red to its second child."""

    def forward(self, image, mask, parent=None):
        body = (image[:, :1] - image[:, 1:2] - 0.5) * 20
        return torch.cat([-body, *[body] * 4], dim=1)


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@pytest.mark.parametrize("tta_flip", [False, True])
def test_tracing_changes_nothing_and_every_expert_has_a_trace(tree, tta_flip):
    # Nothing is scaled: a region of one small pixel may be none at the image's size.
    segmenter = make_segmenter(tree, longest_side=max(IMAGE.shape), tta_flip=tta_flip)
    result, traces = segment_with_trace(segmenter, IMAGE)
    np.testing.assert_array_equal(result.labels, segmenter(IMAGE))
    assert [trace.expert for trace in traces] == list(tree.experts)
    for trace in traces:
        np.testing.assert_array_equal(trace.region, np.isin(result.labels, tree.ids(trace.expert)))
        assert len(trace.views) == trace.region.any()


@pytest.mark.parametrize(("mc_dropout_samples", "tta_flip"), [(1, False), (1, True), (3, True)])
def test_a_view_is_averaged_over_samples_and_flips(mc_dropout_samples, tta_flip):
    segmenter = make_segmenter(mc_dropout_samples=mc_dropout_samples, tta_flip=tta_flip)
    image = IMAGE[:16, :16]  # as large as the root's input, so that nothing is scaled
    result, (root, *_) = segment_with_trace(segmenter, image)
    [view] = root.views
    np.testing.assert_array_equal(view.crop, image)
    body = result.probabilities(0)["body"]
    np.testing.assert_allclose(view.probabilities[1], body, atol=1e-5)


def test_the_second_view_is_closer():
    segmenter = make_segmenter(tta_views=True)
    segmenter.runner.experts["person"] = RedIsBody()
    image = np.zeros((32, 32, 3), np.uint8)
    image[10:16, 8:14, 0] = 255
    _, (root, body, *_) = segment_with_trace(segmenter, image)
    far, near = (shares(view)[1] for view in root.views)
    assert near > 3 * far
    assert body.region[12, 10] and not body.region[25, 25]


def test_what_an_expert_rejects_is_shown_as_such():
    segmenter = make_segmenter(below_root=REJECTING)
    segmenter.runner.experts["person"] = RedIsBody()
    image = np.zeros((32, 32, 3), np.uint8)
    image[10:16, 8:14, 0] = 255
    experts = {one["expert"]: one for one in response(segmenter, image)["experts"]}
    assert [child["name"] for child in experts["person"]["children"]] == ["background", "body"]
    children = experts["body"]["children"]
    assert [child["name"] for child in children][-1] == "none of these"
    [view] = experts["body"]["views"]
    assert len(view["shares"]) == len(children) and sum(view["shares"]) == pytest.approx(1)
    _, traces = segment_with_trace(segmenter, image)
    np.testing.assert_allclose(traces[1].views[0].probabilities.sum(0), 1, atol=1e-5)


def test_an_expert_with_an_empty_region_has_no_view():
    segmenter = make_segmenter()
    segmenter.runner.experts["person"] = RedIsBody()
    _, (root, *others) = segment_with_trace(segmenter, np.zeros((20, 20, 3), np.uint8))
    assert root.views and not any(trace.views or trace.region.any() for trace in others)


def test_images_of_a_view_hide_what_is_outside_the_region():
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    probabilities = np.zeros((2, 4, 4), np.float32)
    probabilities[1] = 1
    probabilities[:, 1, 1] = 0.75, 0.25
    view = TracedView(np.full((4, 4, 3), 200, np.uint8), mask, probabilities)
    assert input_image(view)[0, 0].tolist() == [
        124,
        116,
        104,
    ]  # ImageNet's mean, zero
    assert input_image(view)[1, 1].tolist() == [200, 200, 200]
    colours = coloured(view, ["#000000", "#ff0000"])
    assert len({tuple(c) for c in colours[~mask]}) == 1
    assert colours[1, 1, 0] < colours[2, 2, 0]
    assert shares(view) == [0.25, 0.75]


def test_planes_of_any_number_are_padded_to_threes():
    assert [len(packed(np.zeros((n, 2, 3), np.uint8))) for n in (1, 3, 4, 9)] == [1, 1, 2, 3]
