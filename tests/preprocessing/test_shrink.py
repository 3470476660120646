"""How images and label maps are scaled."""

from __future__ import annotations

import numpy as np

from preprocessing_stage.dataset.shrink import nearest


def test_a_label_map_may_be_written_to_whatever_its_size() -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    larger = nearest(labels, (4, 2))
    assert larger.tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]
    larger[:] = 9
    assert labels.max() == 3
