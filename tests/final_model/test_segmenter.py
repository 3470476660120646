"""The chain: what its decisions guarantee, whatever the experts say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenter_fixtures import MODEL, REJECTING, TREES, make_segmenter, random_image, random_labels
from torch import nn

from final_model_stage.chain import runner as runner_module
from final_model_stage.chain.decisions import (
    averaged_over_ancestors,
    decide,
)
from final_model_stage.chain.runner import Runner
from final_model_stage.evaluation.confusion_counts import possible_leaves
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree


def of_children(tree, name, probabilities):
    """(children, h, w): what the leaves of each child have together."""
    return torch.stack(
        [probabilities[tree.rows(child.name)].sum(0) for child in tree[name].children]
    )


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@pytest.mark.parametrize("mode", ["hard", "product"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_perfect_experts_give_the_true_label_map(tree, mode, seed):
    labels = random_labels(tree, seed)
    perfect = possible_leaves(labels, tree, level=tree.depth - 1).float()
    np.testing.assert_array_equal(decide(tree, perfect, mode).numpy(), labels)


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_child_never_has_a_pixel_outside_its_parent(tree, seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(len(tree.leaves), 9, 7, generator=generator)
    labels = decide(tree, probabilities, "hard").numpy()
    region = {tree.root.name: np.ones_like(labels, bool)}
    for name in tree.experts:
        chosen = of_children(tree, name, probabilities).argmax(0).numpy()
        for k, child in enumerate(tree[name].children):
            region[child.name] = region[name] & (chosen == k)
            np.testing.assert_array_equal(
                np.isin(labels, tree.ids(child.name)), region[child.name], child.name
            )


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
def test_experts_see_only_the_region_that_their_parent_predicted(tree, monkeypatch):
    seen = {}
    predict = Runner.predict

    def record(self, images, views, watch=None):
        [view] = views
        seen[view.expert] = view.region
        return predict(self, images, views)

    monkeypatch.setattr(Runner, "predict", record)
    [(_, found)] = make_segmenter(tree).predict([random_image()])
    assert len(seen) >= 3
    for name, region in seen.items():
        if (parent := tree.parent(name)) is not None:
            index = [child.name for child in parent.children].index(name)
            chosen = of_children(tree, parent.name, found).argmax(0)
            assert not (region & (chosen != index)).any()
            assert not (region & ~seen[parent.name]).any()


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@pytest.mark.parametrize("mode", ["hard", "product"])
@pytest.mark.parametrize("shape", [(24, 32), (97, 61), (1, 1), (5, 300)])
def test_labels_have_the_images_size_and_the_trees_ids(tree, mode, shape):
    labels = make_segmenter(tree, mode=mode)(random_image(shape=shape))
    assert labels.dtype == np.uint8
    assert labels.shape == shape
    assert set(np.unique(labels)) <= {leaf.id for leaf in tree.leaves}


def test_probabilities_of_every_level_add_up():
    tree = TREES[0]
    result = make_segmenter(tree).segment(random_image(shape=(50, 70)))
    assert result.leaf_probabilities.shape == (5, 50, 70)
    np.testing.assert_allclose(result.leaf_probabilities.sum(0), 1, atol=1e-5)
    for level in range(tree.depth):
        below_one = sum(result.probabilities(level).values())
        np.testing.assert_allclose(below_one + result.leaf_probabilities[0], 1, atol=1e-5)
    assert result.probabilities(0).keys() == {"body"}
    assert 0 <= result.uncertainty.min() <= result.uncertainty.max() <= 1


def test_product_mode_may_overrule_an_unsure_parent():
    tree = TREES[0]  # the body is more probable than the background, none of its leaves is
    probabilities = torch.tensor([0.45, *[0.55 / 4] * 4]).view(5, 1, 1)
    assert decide(tree, probabilities, "product").item() == 0
    assert decide(tree, probabilities, "hard").item() != 0


def test_probabilities_are_averaged_over_ancestors_inside_the_region():
    before = torch.tensor([[[0.6, 0.6]], [[0.3, 0.3]], [[0.1, 0.1]]])  # upper, the last two: 0.4
    predicted = torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]])
    weight, rows = torch.tensor([[1 / 3, 0]]), torch.tensor([1, 2])
    other, hand, head = averaged_over_ancestors(before, predicted, rows, weight).unbind()
    assert other.flatten().tolist() == pytest.approx([0.6, 0.6])
    assert hand.flatten().tolist() == pytest.approx([0.4 * 2 / 3 * 3 / 4, 0.3])
    assert head.flatten().tolist() == pytest.approx([0.4 * (2 / 3 * 1 / 4 + 1 / 3), 0.1])


def test_each_view_of_the_root_counts_as_much_as_an_expert():
    tree = ClassTree({"person": {"background": 0, "body": {"hand": 1, "head": 4}}})
    chain = make_segmenter(tree, tta_views=True)
    nn.init.zeros_(chain.experts["body"].head.weight)
    chain.experts["body"].head.bias.data = torch.tensor([100.0, -100.0])  # all of it is hand
    chain = TorchSegmenter(chain.settings, chain.experts)
    image = random_image(0, (32, 20))
    [total], [(_, found)] = chain.predict_root([image]), chain.predict([image])
    views, leaves = total.sum(0), total / total.sum(0)
    is_body = leaves[1:].sum(0) > leaves[0]
    assert set(views[is_body].round().int().tolist()) > {2}
    wanted = (leaves[1] / leaves[1:].sum(0) * views + 1) / (views + 1)
    torch.testing.assert_close((found[1] / found[1:].sum(0))[is_body], wanted[is_body])


def test_what_an_expert_rejects_goes_to_the_leaves_of_other_nodes():
    before = torch.tensor([0.45, 0.15, 0.3, 0.1]).view(4, 1, 1)
    predicted = torch.tensor([0.2, 0.0, 0.8]).view(3, 1, 1)  # of the last two, and of none of them
    rows, weight = torch.tensor([2, 3]), torch.tensor([[1 / 2]])
    found = averaged_over_ancestors(before, predicted, rows, weight).flatten().tolist()
    assert found == pytest.approx([(0.45 + 0.6) / 2, (0.15 + 0.2) / 2, (0.3 + 0.2) / 2, 0.1 / 2])


@pytest.mark.parametrize("mode", ["hard", "product"])
def test_experts_of_children_decide_by_their_own_outputs(mode):
    model = MODEL.model_copy(update={"targets": "children"})
    chain = make_segmenter(model=model, mode=mode, average_ancestors=False)
    tree, found = chain.tree, {}
    for name, expert in chain.runner.experts.items():
        assert len(expert.head.weight) == len(tree[name].children)
        expert.head.register_forward_hook(lambda *args, n=name: found.update({n: args[2]}))
    result = chain.segment(random_image(shape=(16, 16)))  # as large as the experts' input
    body = found["person"].softmax(1)[0, 1].numpy()
    np.testing.assert_allclose(result.probability("body"), body, atol=1e-5)
    leaves = result.leaf_probabilities  # background first
    is_body = body > 0.5 if mode == "hard" else leaves[1:].max(0) > leaves[0]
    np.testing.assert_array_equal(result.labels > 0, is_body)


class Constant(nn.Module):
    """An expert that gives its leaves these probabilities everywhere."""

    def __init__(self, *probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log().view(1, -1, 1, 1)

    def forward(self, image, region, parent=None):
        return self.logits.expand(len(image), -1, *image.shape[2:])


def test_every_expert_on_the_way_to_a_pixel_counts():
    chain = make_segmenter()
    chain.runner.experts = {
        "person": Constant(0.2, 0.2, 0.2, 0.2, 0.2),  # background, hand, foot, head, knee
        "body": Constant(0.4, 0.1, 0.4, 0.1),
        "upper": Constant(0.9, 0.1),
        "lower": Constant(0.9, 0.1),  # its region is empty: all is upper
    }
    result = chain.segment(random_image())
    expected = {
        "background": 0.2,
        "hand": 0.8 * 0.65 * (2 * 0.5 + 0.9) / 3,
        "foot": 0.8 * 0.175,
        "head": 0.8 * 0.65 * (2 * 0.5 + 0.1) / 3,
        "knee": 0.8 * 0.175,
    }
    names = [leaf.name for leaf in chain.tree.leaves]
    found = result.leaf_probabilities[:, 7, 9].tolist()
    assert dict(zip(names, found, strict=True)) == pytest.approx(expected)


def test_leaf_probabilities_add_up_to_one_beside_pixels_that_a_sure_expert_rejects():
    class Rejecting(Constant):
        """Names its leaves on the left, and none of them on the right."""

        def forward(self, image, region, parent=None):
            logits = super().forward(image, region, parent).clone()
            logits[:, -1, :, image.shape[3] // 2 :] = 40
            return logits

    chain = make_segmenter(below_root=REJECTING, average_ancestors=False, grid_stride=2)
    chain.runner.experts = {
        "person": Constant(0.3, 0.4, 0.1, 0.1, 0.1),
        "body": Rejecting(0.6, 0.2, 0.1, 0.1, 1e-9),
        "upper": Rejecting(0.8, 0.2, 1e-9),
        "lower": Rejecting(0.8, 0.2, 1e-9),
    }
    found = chain.segment(random_image()).leaf_probabilities
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_experts_with_an_empty_region_do_not_run():
    chain = make_segmenter()

    class Broken(nn.Module):
        def forward(self, image, region, parent=None):
            raise AssertionError("ran for nothing")

    chain.runner.experts = dict.fromkeys(chain.runner.experts, Broken())
    chain.runner.experts["person"] = Constant(0.96, *[0.01] * 4)
    assert not chain(random_image()).any()


def test_images_of_a_batch_do_not_influence_each_other():
    chain = make_segmenter()
    images = [
        random_image(seed, shape) for seed, shape in enumerate([(24, 32), (30, 20), (64, 64)])
    ]
    together = [labels for labels, _ in chain.predict(images)]
    for image, labels in zip(images, together, strict=True):
        np.testing.assert_array_equal(chain(image), labels)


def test_a_prediction_of_the_root_can_be_given_again():
    chain = make_segmenter(tta_views=True, tta_flip=True)
    images = [random_image(seed, shape) for seed, shape in enumerate([(24, 32), (32, 32)])]
    truths = [torch.rand(5, *image.shape[:2]) > 0.5 for image in images]
    root = chain.predict_root(images)
    chain.runner.experts["person"] = nn.Identity()  # cannot predict
    for possible in (None, truths):
        again = chain.predict(images, possible, root)
        expected = make_segmenter(tta_views=True, tta_flip=True).predict(images, possible)
        for (labels, found), (expected_labels, wanted) in zip(again, expected, strict=True):
            np.testing.assert_array_equal(labels, expected_labels)
            assert torch.equal(found, wanted)


def test_true_regions_are_reduced_around_the_pixels_centres(monkeypatch):
    chain = make_segmenter()
    side = 4 * chain.settings.longest_side
    possible = torch.zeros(5, side, side, dtype=torch.bool)
    possible[1, :, 2::4] = possible[2, :, 0::4] = possible[2, :, 1::4] = possible[2, :, 3::4] = True
    seen, predict = {}, Runner.predict

    def record(self, images, views, watch=None):
        seen[views[0].expert] = views[0].region
        return predict(self, images, views)

    monkeypatch.setattr(Runner, "predict", record)
    chain.predict([random_image(0, (side, side))], [possible])
    assert seen["upper"].all(), "of hand and foot, hand alone is open there"
    assert "lower" not in seen


def test_mc_dropout_differs_from_one_prediction_and_repeats_itself():
    image = random_image()
    one, many = make_segmenter(), make_segmenter(mc_dropout_samples=4)
    state = torch.random.get_rng_state()
    first, second = many.segment(image), many.segment(image)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is kept"
    np.testing.assert_array_equal(first.leaf_probabilities, second.leaf_probabilities)
    assert not np.allclose(one.segment(image).leaf_probabilities, first.leaf_probabilities)


def test_with_mc_dropout_images_of_a_batch_do_not_influence_each_other_either():
    chain = make_segmenter(mc_dropout_samples=3)
    images = [random_image(seed) for seed in range(3)]
    together = [probabilities for _, probabilities in chain.predict(images)]
    for image, found in zip(images, together, strict=True):
        [(_, alone)] = chain.predict([image])
        torch.testing.assert_close(found, alone)


def test_large_batches_are_split(monkeypatch):
    monkeypatch.setattr(runner_module, "BATCH", 2)
    chain = make_segmenter()
    images = [random_image(seed) for seed in range(5)]
    alone = [chain(image) for image in images]
    for labels, (found, _) in zip(alone, chain.predict(images), strict=True):
        np.testing.assert_array_equal(found, labels)
