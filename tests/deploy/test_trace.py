"""What the page tells of the chain is what happened in it."""

import numpy as np
import pytest
import torch
from segmenter_fixtures import TREES, make_segmenter
from torch import nn

from deploy.demo.response import answered, packed, seen, shares
from deploy.demo.trace import Look, segment_in_steps

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 44, 3), np.uint8)


class RedIsBody(nn.Module):
    """An expert that takes whatever is red for its second child."""

    def forward(self, image, region):
        body = (image[:, :1] - image[:, 1:2] - 0.5) * 20
        return torch.cat([-body, *[body] * 4], dim=1)


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@pytest.mark.parametrize("tta_flip", [False, True])
def test_listening_changes_nothing_and_every_expert_has_its_step(tree, tta_flip):
    # Nothing is scaled: a region of one small pixel may be none at the image's size.
    segmenter = make_segmenter(tree, longest_side=max(IMAGE.shape), tta_flip=tta_flip)
    result, steps = segment_in_steps(segmenter, IMAGE)
    np.testing.assert_array_equal(result.labels, segmenter(IMAGE))
    assert [step.expert for step in steps] == list(tree.experts)
    for step in steps:
        np.testing.assert_array_equal(step.region, np.isin(result.labels, tree.ids(step.expert)))
        assert len(step.looks) == step.region.any()
    assert not any(expert._forward_hooks for expert in segmenter.runner.experts.values())


@pytest.mark.parametrize(("mc_dropout_samples", "tta_flip"), [(1, False), (1, True), (3, True)])
def test_a_look_is_the_mean_of_its_passes_and_mirrors(mc_dropout_samples, tta_flip):
    segmenter = make_segmenter(mc_dropout_samples=mc_dropout_samples, tta_flip=tta_flip)
    image = IMAGE[:16, :16]  # as large as the root's input, so that nothing is scaled
    result, (root, *_) = segment_in_steps(segmenter, image)
    [look] = root.looks
    np.testing.assert_array_equal(look.image, image)
    body = result.probabilities(0)["body"]
    np.testing.assert_allclose(look.probabilities[1], body, atol=1e-5)


def test_a_second_look_is_closer():
    segmenter = make_segmenter(tta_views=True)
    segmenter.runner.experts["person"] = RedIsBody()
    image = np.zeros((32, 32, 3), np.uint8)
    image[10:16, 8:14, 0] = 255
    _, (root, body, *_) = segment_in_steps(segmenter, image)
    far, near = (shares(look)[1] for look in root.looks)
    assert near > 3 * far
    assert body.region[12, 10] and not body.region[25, 25]


def test_an_expert_that_was_handed_nothing_has_no_look():
    segmenter = make_segmenter()
    segmenter.runner.experts["person"] = RedIsBody()
    _, (root, *others) = segment_in_steps(segmenter, np.zeros((20, 20, 3), np.uint8))
    assert root.looks and not any(step.looks or step.region.any() for step in others)


def test_nobody_listens_after_a_failure(monkeypatch):
    segmenter = make_segmenter()
    with pytest.raises(AttributeError):
        segment_in_steps(segmenter, None)
    assert not any(expert._forward_hooks for expert in segmenter.runner.experts.values())


def test_pictures_of_a_look_hide_what_is_outside_the_region():
    region = np.zeros((4, 4), bool)
    region[1:3, 1:3] = True
    probabilities = np.zeros((2, 4, 4), np.float32)
    probabilities[1] = 1
    probabilities[:, 1, 1] = 0.75, 0.25
    look = Look(np.full((4, 4, 3), 200, np.uint8), region, probabilities)
    assert seen(look)[0, 0].tolist() == [124, 116, 104]  # ImageNet's mean: zero for the expert
    assert seen(look)[1, 1].tolist() == [200, 200, 200]
    colours = answered(look, ["#000000", "#ff0000"])
    assert len({tuple(c) for c in colours[~region]}) == 1
    assert colours[1, 1, 0] < colours[2, 2, 0]
    assert shares(look) == [0.25, 0.75]


def test_planes_of_any_number_are_padded_to_threes():
    assert [len(packed(np.zeros((n, 2, 3), np.uint8))) for n in (1, 3, 4, 9)] == [1, 1, 2, 3]
