"""The chain: what its decisions guarantee, whatever the experts say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenter_fixtures import MODEL, TREES, make_segmenter, random_image, random_labels
from torch import nn

from final_model_stage.chain import runner as runner_module
from final_model_stage.chain.decisions import (
    averaged_over_ancestors,
    decide,
    leaf_probabilities,
)
from final_model_stage.chain.runner import Runner
from final_model_stage.evaluation.confusion_counts import true_conditionals
from final_model_stage.segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from train_stage.node_split import NodeSplit


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@pytest.mark.parametrize("mode", ["hard", "product"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_perfect_experts_give_the_true_label_map(tree, mode, seed):
    labels = random_labels(tree, seed)
    perfect = true_conditionals(labels, tree, level=tree.depth)
    np.testing.assert_array_equal(decide(tree, perfect, mode).numpy(), labels)


@pytest.mark.parametrize("tree", TREES, ids=["people", "deep"])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_child_never_has_a_pixel_outside_its_parent(tree, seed):
    generator = torch.Generator().manual_seed(seed)
    conditionals = {
        name: torch.rand(len(tree[name].children), 9, 7, generator=generator).softmax(0)
        for name in tree.experts
    }
    labels = decide(tree, conditionals, "hard").numpy()
    region = {tree.root.name: np.ones_like(labels, bool)}
    for name in tree.experts:
        chosen = conditionals[name].argmax(0).numpy()
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
    [(_, conditionals)] = make_segmenter(tree).predict([random_image()])
    assert len(seen) >= 3
    for name, region in seen.items():
        if (parent := tree.parent(name)) is not None:
            index = [child.name for child in parent.children].index(name)
            assert not (region & (conditionals[parent.name].argmax(0) != index)).any()
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


def test_leaf_probabilities_are_products_along_the_path():
    tree = TREES[0]
    given = {
        "person": torch.tensor([0.4, 0.6]),
        "body": torch.tensor([0.9, 0.1]),
        "upper": torch.tensor([0.7, 0.3]),
        "lower": torch.tensor([0.2, 0.8]),
    }
    found = leaf_probabilities(tree, {k: v.view(-1, 1, 1) for k, v in given.items()}).flatten()
    names = [leaf.name for leaf in tree.leaves]
    expected = {
        "background": 0.4,
        "hand": 0.6 * 0.9 * 0.7,
        "foot": 0.6 * 0.1 * 0.2,
        "head": 0.6 * 0.9 * 0.3,
        "knee": 0.6 * 0.1 * 0.8,
    }
    assert dict(zip(names, found.tolist(), strict=True)) == pytest.approx(expected)


def test_product_mode_may_overrule_an_unsure_parent():
    tree = TREES[0]
    given = {
        "person": torch.tensor([0.45, 0.55]),
        "body": torch.tensor([0.5, 0.5]),
        "upper": torch.tensor([0.5, 0.5]),
        "lower": torch.tensor([0.5, 0.5]),
    }
    given = {k: v.view(-1, 1, 1) for k, v in given.items()}
    assert decide(tree, given, "product").item() == 0
    assert decide(tree, given, "hard").item() != 0


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
    torch.testing.assert_close(found["body"][0][is_body], wanted[is_body])


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


def test_a_conditional_is_the_share_of_a_childs_leaves():
    split = NodeSplit.of(TREES[0], "body")  # hand, foot, head, knee; upper: hand and head
    leaves = torch.tensor([0.1, 0.2, 0.3, 0.2]).view(4, 1, 1)
    assert split.conditionals(leaves).flatten().tolist() == pytest.approx([0.5, 0.5])
    assert split.conditionals(0 * leaves).flatten().tolist() == [0, 0]


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
    truths = [{"body": torch.rand(2, *image.shape[:2])} for image in images]
    root = chain.predict_root(images)
    chain.runner.experts["person"] = nn.Identity()  # cannot predict
    for oracle in (None, truths):
        again = chain.predict(images, oracle, root)
        expected = make_segmenter(tta_views=True, tta_flip=True).predict(images, oracle)
        for (labels, found), (expected_labels, wanted) in zip(again, expected, strict=True):
            np.testing.assert_array_equal(labels, expected_labels)
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_oracle_parents_are_reduced_around_the_pixels_centres():
    chain = make_segmenter()
    side = 4 * chain.settings.longest_side
    truth = torch.zeros(2, side, side)
    truth[0, :, 2::4] = truth[1, :, 0::4] = truth[1, :, 1::4] = truth[1, :, 3::4] = 1
    [(_, found)] = chain.predict([random_image(0, (side, side))], [{"body": truth}])
    assert found["body"][0].all() and not found["body"][1].any()


def test_mc_dropout_differs_from_one_prediction_and_repeats_itself():
    image = random_image()
    one, many = make_segmenter(), make_segmenter(mc_dropout_samples=4)
    state = torch.random.get_rng_state()
    first, second = many.segment(image), many.segment(image)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is kept"
    np.testing.assert_array_equal(first.leaf_probabilities, second.leaf_probabilities)
    assert not np.allclose(one.segment(image).leaf_probabilities, first.leaf_probabilities)


def test_large_batches_are_split(monkeypatch):
    monkeypatch.setattr(runner_module, "BATCH", 2)
    chain = make_segmenter()
    images = [random_image(seed) for seed in range(5)]
    alone = [chain(image) for image in images]
    for labels, (found, _) in zip(alone, chain.predict(images), strict=True):
        np.testing.assert_array_equal(found, labels)
