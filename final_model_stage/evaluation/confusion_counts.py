"""Run a segmenter over a split and count what it gets right, at each image's own size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from tqdm import tqdm

from final_model_stage.evaluation.metrics import Evaluation
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.check_dataset import Pair, read_pairs, sound
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from train_stage.confusion import confusion_matrix

BATCH = 16
"""Images that are read and segmented at once."""
MAX_PIXELS = 16_000_000
"""Of them together; the true regions take 4 bytes for each pixel and class."""


def evaluate(
    segmenter: TorchSegmenter, folder: DatasetFolder, split: str, *, with_oracle: bool = True
) -> Evaluation:
    """Confusion matrices of every image of a split; neither images nor label maps are changed.

    with_oracle: also those where true regions are given, which takes longer.
    Raises DatasetError for a sample that is broken or does not fit the tree.
    """
    tree = segmenter.tree
    ids = folder.ids(split)
    rows: list[np.ndarray] = []
    oracle_rows: dict[int, list[np.ndarray]] = (
        {k: [] for k in range(tree.depth - 1)} if with_oracle else {}
    )
    with tqdm(total=len(ids), desc=f"evaluating {split}", unit="image") as progress:
        read = read_pairs(folder, ids, tree, lambda pair: pair, most=BATCH)
        for pairs in _batches(sound(folder, pair) for pair in read):
            root = segmenter.predict_root([pair.image for pair in pairs])
            rows += _count(segmenter, pairs, root, None)
            for level, some in oracle_rows.items():
                some += _count(segmenter, pairs, root, level)
            progress.update(len(pairs))
    return Evaluation(ids, np.stack(rows), {k: np.stack(v) for k, v in oracle_rows.items()})


def possible_leaves(labels: np.ndarray, tree: ClassTree, level: int) -> torch.Tensor:
    """(leaves, H, W) bool, what is open once the true classes of a level are known: the leaves of
    the class that the pixel has in the label map (H, W) uint8; none where it is ignored."""
    background = tuple(leaf for leaf in tree.leaves if leaf.id == BACKGROUND)
    possible = np.zeros((len(tree.leaves), *labels.shape), bool)
    for node in (*tree.level(level), *background):
        possible[tree.rows(node.name)] = np.isin(labels, tree.ids(node.name))
    return torch.from_numpy(possible)


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """BATCH of them at a time, or fewer where MAX_PIXELS are reached before."""
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == BATCH or sum(one.labels.size for one in batch) >= MAX_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _count(
    segmenter: TorchSegmenter, pairs: list[Pair], root: list[torch.Tensor], oracle_level: int | None
) -> list[np.ndarray]:
    tree = segmenter.tree
    possible = None
    if oracle_level is not None:
        possible = [possible_leaves(pair.labels, tree, oracle_level) for pair in pairs]
    index = tree.leaf_of_id(tree.root.name)
    predictions = segmenter.predict([pair.image for pair in pairs], possible, root)
    return [
        confusion_matrix(index[pair.labels], index[labels], len(tree.leaves))
        for pair, (labels, _) in zip(pairs, predictions, strict=True)
    ]
