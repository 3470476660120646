"""The chain over a split: true regions, large photographs, arrays that stay as they are."""

import numpy as np
import torch
from segmenter_fixtures import TREES, make_segmenter, random_image, random_labels

from final_model_stage.chain.runner import Runner
from final_model_stage.evaluation import confusion_counts as evaluate_module
from final_model_stage.evaluation.confusion_counts import evaluate
from preprocessing_stage.dataset.check_dataset import Pair
from preprocessing_stage.dataset.class_tree import ClassTree


def test_where_the_truth_is_ignored_no_child_of_an_oracle_runs(monkeypatch):
    """The first child would get what is labelled 255."""
    tree = ClassTree({"all": {"left": {"a": 1, "b": 2}, "right": {"c": 3, "d": 4}}})
    labels = np.full((24, 24), 255, np.uint8)
    labels[:12, :12], labels[:12, 12:] = 1, 3
    pair = Pair("x", random_image(0, (24, 24)), labels)
    monkeypatch.setattr(
        "final_model_stage.evaluation.confusion_counts.read_pairs", lambda *_, **__: iter([pair])
    )
    seen = {}
    predict = Runner.predict

    def record(self, images, views, watch=None):
        seen[views[0].expert] = views[0].region
        return predict(self, images, views)

    monkeypatch.setattr(Runner, "predict", record)

    class Folder:
        def ids(self, split):
            return ["x"]

    evaluate(make_segmenter(tree), Folder(), "val")
    assert torch.equal(seen["left"], torch.from_numpy(labels == 1))
    assert torch.equal(seen["right"], torch.from_numpy(labels == 3))


def test_large_photographs_are_evaluated_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(evaluate_module, "MAX_PIXELS", 30)
    sizes = [4, 3, 5, 1, 1, 1]
    pairs = [Pair(str(s), np.zeros((s, s, 3), np.uint8), np.zeros((s, s), np.uint8)) for s in sizes]
    batches = [[len(pair.labels) for pair in batch] for batch in evaluate_module._batches(pairs)]
    assert batches == [[4, 3, 5], [1, 1, 1]]


def test_neither_images_nor_label_maps_are_changed(monkeypatch, tmp_path):
    """Read-only arrays go through chain and evaluation and come out as they were."""
    tree = TREES[0]
    pairs = [Pair(str(s), random_image(s), random_labels(tree, s, (24, 32))) for s in range(3)]
    pairs.append(Pair("large", random_image(9, (70, 50)), random_labels(tree, 9, (70, 50))))
    before = [(pair.image.copy(), pair.labels.copy()) for pair in pairs]

    class Folder:
        def ids(self, split):
            return [pair.id for pair in pairs]

    monkeypatch.setattr(
        "final_model_stage.evaluation.confusion_counts.read_pairs", lambda *_, **__: iter(pairs)
    )
    for mode in ("hard", "product"):
        evaluation = evaluate(make_segmenter(tree, mode=mode), Folder(), "val")
        assert evaluation.counts.sum() == sum(pair.labels.size for pair in pairs)
    make_segmenter(tree).segment(pairs[0].image)
    for pair, (image, labels) in zip(pairs, before, strict=True):
        np.testing.assert_array_equal(pair.image, image)
        np.testing.assert_array_equal(pair.labels, labels)


def test_oracle_counts_have_the_true_regions(monkeypatch):
    tree = TREES[0]
    pair = Pair("a", random_image(1, (40, 40)), random_labels(tree, 1, (40, 40)))
    monkeypatch.setattr(
        "final_model_stage.evaluation.confusion_counts.read_pairs", lambda *_, **__: iter([pair])
    )

    class Folder:
        def ids(self, split):
            return ["a"]

    evaluation = evaluate(make_segmenter(tree), Folder(), "val")
    background, upper, lower = [0], [1, 3], [2, 4]  # indices in tree.leaves
    body = upper + lower
    level_0, level_1 = (evaluation.oracle_counts[k][0] for k in (0, 1))
    assert level_0[np.ix_(background, body)].sum() == level_0[np.ix_(body, background)].sum() == 0
    assert level_0[np.ix_(upper, lower)].sum() > 0
    assert level_1[np.ix_(upper, lower)].sum() == level_1[np.ix_(lower, upper)].sum() == 0
