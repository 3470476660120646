"""Figures from counts: levels, protocols, intervals, and the trap that they avoid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import jaccard_score

from final_model_stage.evaluation.metrics import (
    Evaluation,
    at_level,
    bootstrap_intervals,
    class_iou,
    dataset_level_miou,
    difference_intervals,
    image_level_miou,
    mean_iou,
    miou_by_size,
    summary,
)
from final_model_stage.evaluation.result_files import read_confusion, write_results
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.rendering.parts import TREE
from train_stage.confusion import confusion_matrix

UPPER, LOWER = [1, 2, 4, 6], [3, 5]


def counts_of(truth, prediction):
    """Counts (1, 7, 7) of one image; the leaf ids of TREE are its leaf indices."""
    return confusion_matrix(truth, prediction, 7)[None]


def random_maps(seed, shape=(40, 40), wrong=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 7, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < wrong, rng.integers(0, 7, shape), truth)
    return truth, prediction.astype(np.uint8)


@pytest.mark.parametrize(
    ("level", "groups"),
    [(0, [UPPER + LOWER]), (1, [UPPER, LOWER]), (2, [[1], [2], [4], [6], [3], [5]])],
)
def test_iou_of_each_level_agrees_with_scikit_learn_on_merged_maps(level, groups):
    truth, prediction = random_maps(0)
    expected = [
        jaccard_score(np.isin(truth, g).ravel(), np.isin(prediction, g).ravel()) for g in groups
    ]
    found = class_iou(counts_of(truth, prediction)[0], TREE, level)
    np.testing.assert_allclose(found, expected)


def test_merging_keeps_every_pixel():
    counts = counts_of(*random_maps(1))[0]
    assert all(at_level(counts, TREE, level).sum() == counts.sum() for level in range(3))


def test_dataset_level_sums_pixels_before_it_divides():
    big = counts_of(np.full((10, 10), 2, np.uint8), np.full((10, 10), 2, np.uint8))
    small = counts_of(np.full((1, 10), 2, np.uint8), np.zeros((1, 10), np.uint8))
    counts = np.concatenate([big, small])
    assert dataset_level_miou(counts, TREE)["mIoU_0"] == pytest.approx(100 / 110, abs=1e-6)
    assert image_level_miou(counts, TREE)["mIoU_0"] == pytest.approx((1 + 0) / 2)


def test_image_level_leaves_out_absent_classes_and_empty_images():
    half = np.zeros((2, 2), np.uint8)
    half[0] = 2
    head_only_in_prediction = half.copy()
    head_only_in_prediction[1, 0] = 4
    empty = np.zeros((2, 2), np.uint8)
    counts = np.concatenate([counts_of(half, head_only_in_prediction), counts_of(empty, empty)])
    assert image_level_miou(counts, TREE)["mIoU_2"] == pytest.approx((1 + 0) / 2)
    assert np.isnan(mean_iou(counts[1], TREE, 2))


def test_ignored_pixels_do_not_count():
    truth, prediction = random_maps(2)
    masked = truth.copy()
    masked[:10] = 255
    np.testing.assert_array_equal(
        counts_of(masked, prediction), counts_of(truth[10:], prediction[10:])
    )


def test_the_published_775_is_what_six_classes_on_two_class_maps_give():
    """Merge the label maps IN PLACE to two classes, then score six, absent ones as 1: (2a+4)/6,
    which makes the reference's mIoU_2, .77505, of its mIoU_1, .32516."""
    truth, prediction = random_maps(3)
    honest = dataset_level_miou(counts_of(truth, prediction), TREE)

    merged_truth, merged_prediction = truth.copy(), prediction.copy()
    for merged in (merged_truth, merged_prediction):
        merged[np.isin(merged, UPPER)] = 1
        merged[np.isin(merged, LOWER)] = 3
    counts = counts_of(merged_truth, merged_prediction)[0]
    ious = class_iou(counts, TREE, 2)
    a = np.nanmean(ious)
    assert np.isnan(ious).sum() == 4
    artefact = np.where(np.isnan(ious), 1, ious).mean()
    assert artefact == pytest.approx((2 * a + 4) / 6)
    assert a == pytest.approx(honest["mIoU_1"], abs=1e-6)
    assert artefact > honest["mIoU_2"] + 0.2


def test_figures_change_nothing_that_they_are_handed():
    counts = np.concatenate([counts_of(*random_maps(seed)) for seed in range(4)])
    before = counts.copy()
    counts.flags.writeable = False
    summary(counts, {0: counts, 1: counts}, TREE, resamplings=100, seed=0)
    np.testing.assert_array_equal(counts, before)


def test_interval_holds_the_figure_and_shrinks_with_more_images():
    counts = np.concatenate([counts_of(*random_maps(s, wrong=0.1 + s % 5 / 8)) for s in range(64)])
    figure = dataset_level_miou(counts, TREE)["mIoU_2"]
    few = bootstrap_intervals(counts[:8], TREE, 500, seed=0)["mIoU_2"]
    many = bootstrap_intervals(counts, TREE, 500, seed=0)["mIoU_2"]
    assert many["low"] < figure < many["high"]
    assert many["high"] - many["low"] < few["high"] - few["low"]


def test_differences_of_the_same_images_are_known_better_than_either():
    """Images are hard or easy for both; the second is a little worse in all of them."""
    maps = [random_maps(s, wrong=0.1 + s % 5 / 8) for s in range(32)]
    first = np.concatenate([counts_of(*pair) for pair in maps])
    worse = [np.where(np.arange(40) % 10 == 0, 0, predicted) for _, predicted in maps]
    second = np.concatenate([counts_of(t, p) for (t, _), p in zip(maps, worse, strict=True)])
    difference = difference_intervals(first, second, TREE, 500, seed=0)["mIoU_2"]
    own = bootstrap_intervals(first, TREE, 500, seed=0)["mIoU_2"]
    figures = [dataset_level_miou(counts, TREE)["mIoU_2"] for counts in (first, second)]
    assert difference["low"] < figures[1] - figures[0] < difference["high"] < 0
    assert difference["high"] - difference["low"] < (own["high"] - own["low"]) / 3
    assert difference_intervals(first, first, TREE, 10, seed=0)["mIoU_0"] == {"low": 0, "high": 0}


def test_interval_of_equal_images_is_a_point():
    counts = np.repeat(counts_of(*random_maps(5)), 10, axis=0)
    interval = bootstrap_intervals(counts, TREE, 100, seed=0)["mIoU_1"]
    assert interval["low"] == interval["high"] == dataset_level_miou(counts, TREE)["mIoU_1"]


def test_an_interval_is_of_the_classes_of_the_figure():
    """A hand is in one image alone: without it, the mean of the others would be another figure."""
    hand = np.zeros((8, 8), np.uint8)
    hand[:2] = 1
    head = np.full((8, 8), 4, np.uint8)
    missed = np.where(hand == 1, 0, hand)
    counts = np.concatenate([counts_of(hand, missed), *[counts_of(head, head)] * 9])
    interval = bootstrap_intervals(counts, TREE, 200, seed=0)["mIoU_2"]
    assert interval == {"low": 0.5, "high": 0.5}
    assert dataset_level_miou(counts, TREE)["mIoU_2"] == 0.5


def test_nothing_to_compare_has_no_interval_and_warns_of_nothing(recwarn):
    nothing = np.zeros((3, 7, 7), np.int64)
    figures = summary(nothing, {}, TREE, resamplings=10, seed=0)
    assert np.isnan(figures["pixel_accuracy"])
    assert all(np.isnan(side) for side in figures["interval"]["mIoU_2"].values())
    assert not recwarn.list


def test_quartiles_go_from_small_people_to_large_ones():
    images = []
    for size in (1, 2, 3, 4, 5, 6, 7, 8):
        truth = np.zeros((8, 8), np.uint8)
        truth[:size] = 2
        images.append(counts_of(truth, truth if size > 2 else np.zeros_like(truth)))
    images.append(counts_of(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)))
    table = miou_by_size(np.concatenate(images), TREE)
    assert [table[f"quartile_{q}"]["mIoU_0"] for q in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert sum(row["images"] for row in table.values()) == 8


@settings(max_examples=30)
@given(arrays(np.uint8, (6, 6), elements=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255])))
def test_a_perfect_prediction_scores_one_at_every_level(truth):
    prediction = np.where(truth == 255, 0, truth)
    figures = dataset_level_miou(counts_of(truth, prediction), TREE)
    has_foreground = np.isin(truth, UPPER + LOWER).any()
    assert all(np.isnan(v) or v == 1 for v in figures.values())
    assert np.isnan(figures["mIoU_0"]) != has_foreground


def test_oracle_figures_stand_only_below_the_given_level():
    counts = counts_of(*random_maps(6))
    oracle = summary(counts, {0: counts, 1: counts}, TREE, resamplings=100, seed=0)["oracle"]
    assert {level: set(row) for level, row in oracle.items()} == {
        "level_0": {"mIoU_1", "mIoU_2"},
        "level_1": {"mIoU_2"},
    }


LEVELS = {0: [UPPER + LOWER], 1: [UPPER, LOWER], 2: [[1], [2], [4], [6], [3], [5]]}


@settings(max_examples=30)
@given(
    truths=arrays(np.uint8, (3, 6, 6), elements=st.sampled_from([*range(7), 255])),
    predictions=arrays(np.uint8, (3, 6, 6), elements=st.integers(0, 6)),
)
def test_the_dataset_level_agrees_with_scikit_learn(truths, predictions):
    """On maps merged to each level, over all pixels of all images that count."""
    counts = np.concatenate([counts_of(t, p) for t, p in zip(truths, predictions, strict=True)])
    figures, counted = dataset_level_miou(counts, TREE), truths != 255
    for level, groups in LEVELS.items():
        # 0 is what belongs to no class of the level, the background.
        merged = np.zeros(256, np.int64)
        for index, group in enumerate(groups, 1):
            merged[group] = index
        truth, prediction = merged[truths[counted]], merged[predictions[counted]]
        classes = sorted(({*truth.tolist()} | {*prediction.tolist()}) - {0})
        if not classes:
            assert np.isnan(figures[f"mIoU_{level}"])
            continue
        theirs = jaccard_score(truth, prediction, labels=classes, average="macro")
        assert figures[f"mIoU_{level}"] == pytest.approx(theirs, abs=1e-6)


def test_confusion_is_read_with_siblings_side_by_side(tmp_path):
    tree = ClassTree({"image": {"background": 0, "plant": {"stem": 3, "cap": 1}, "foot": 2}})
    counts = np.arange(16).reshape(1, 4, 4)
    figures = summary(counts, {}, tree, resamplings=100, seed=0)
    write_results(Evaluation(["a"], counts, {}), tree, figures, tmp_path)
    names, rearranged = read_confusion(tmp_path, tree)
    assert names == ["background", "stem", "cap", "foot"]  # written by id
    assert rearranged[1].tolist() == [12, 15, 13, 14]
