from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score

from train_stage.confusion import confusion_matrix, iou

CLASSES = 4
SHAPE = (5, 7)
truths = arrays(np.uint8, SHAPE, elements=st.sampled_from([*range(CLASSES), 255]))
predictions = arrays(np.uint8, SHAPE, elements=st.integers(0, CLASSES - 1))


@settings(max_examples=50)
@given(truths.filter(lambda truth: (truth != 255).any()), predictions)
def test_equals_scikit_learn(truth: np.ndarray, prediction: np.ndarray) -> None:
    pair = truth[truth != 255], prediction[truth != 255]
    confusion = confusion_matrix(truth, prediction, CLASSES)
    np.testing.assert_array_equal(confusion, sklearn_confusion(*pair, labels=range(CLASSES)))
    scores = jaccard_score(*pair, labels=range(CLASSES), average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(iou(confusion)), scores)


def test_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 255, 1]], np.uint8)
    prediction = np.array([[0, 1, 1], [0, 2, 1]], np.uint8)
    confusion = confusion_matrix(truth, prediction, 3)
    assert confusion.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(iou(confusion), [1 / 3, 2 / 4, np.nan])


def test_a_class_that_is_only_predicted_has_iou_zero() -> None:
    confusion = confusion_matrix(np.zeros(3, np.uint8), np.array([0, 1, 0], np.uint8), 2)
    np.testing.assert_allclose(iou(confusion), [2 / 3, 0])


def test_iou_of_a_stack_is_the_iou_of_each() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (3, CLASSES, CLASSES))
    np.testing.assert_array_equal(iou(stack), [iou(confusion) for confusion in stack])


def test_inputs_are_only_read() -> None:
    truth, prediction = np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    truth.flags.writeable = prediction.flags.writeable = False
    confusion = confusion_matrix(truth, prediction, 2)
    confusion.flags.writeable = False
    assert iou(confusion).tolist() == [0, 0]


def test_values_that_are_no_class_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        confusion_matrix(np.array([1], np.uint8), np.array([2], np.uint8), 2)
