"""Predict all samples by networks that were not trained on them:
`python -m train_stage.predict_out_of_fold`.

The training samples are divided into folds; for each, a network like the shared one is trained on
the other folds and predicts this one. So the experts below the root learn on regions as wrong as
those that the chain will give them (Wolpert 1992, "Stacked generalization", section 2). Validation
samples get the mean of these networks. Writes models/out_of_fold/{train,val}.npy: (samples,
leaves, size, size) uint8, probabilities x 255 on the whole image, squeezed into a square; and the
networks beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.paths import OUT_OF_FOLD
from train_stage.checkpoint import finish_folds
from train_stage.dataset import Batch, ExpertSamples
from train_stage.params import load_train_params
from train_stage.task import Task
from train_stage.trainer import Trainer
from train_stage.training import run

BATCH = 16


@exits_on_user_error()
def main() -> None:
    params = load_train_params()
    size, folds = params.out_of_fold.map_size, params.out_of_fold.folds
    train, val = PackedSplit("train"), PackedSplit("val")
    leaves = len(Task.of_shared().tree.leaves)
    if all(expert.regions == "labelled" for expert in params.experts.values()):
        print("no expert is trained on predicted regions: nothing is predicted")
        folds = leaves = 0
    if folds > len(train):
        raise UserError(
            f"out_of_fold.folds: is {folds}, but there are {len(train)} samples to train on; set "
            f"it to {len(train)} at most"
        )
    found = np.zeros((len(train), leaves, size, size), np.uint8)
    means = np.zeros((len(val), leaves, size, size), np.float32)
    is_global_zero, tasks = True, []
    for fold in range(folds):
        held_out = list(range(fold, len(train), folds))
        task = Task.of_fold(fold, frozenset(train.rows[i].id for i in held_out))
        tasks.append(task)
        trainer = run(task)
        is_global_zero = trainer.fabric.is_global_zero
        if is_global_zero:
            for some, predicted in predict(task, trainer, train, held_out, size):
                found[some] = to_bytes(predicted)
            for some, predicted in predict(task, trainer, val, range(len(val)), size):
                means[some] += predicted / folds
    if is_global_zero:
        # A fold by itself does not know that the others had another tree or `swap`.
        is_current = all(task.is_current for task in tasks)
        if not is_current or load_train_params().out_of_fold != params.out_of_fold:
            raise UserError(
                "out_of_fold: params.yaml was edited during the training; the networks are kept, "
                "run again for the params of before or for the new ones"
            )
        OUT_OF_FOLD.mkdir(parents=True, exist_ok=True)
        for name, values in (("train", found), ("val", to_bytes(means))):
            with atomic_write(OUT_OF_FOLD / f"{name}.npy", "wb") as file:
                np.save(file, values)
        finish_folds()


def to_bytes(probabilities: np.ndarray) -> np.ndarray:
    """0..1 -> uint8 0..255."""
    return (probabilities * 255).round().astype(np.uint8)


@torch.inference_mode()
def predict(
    task: Task, trainer: Trainer, split: PackedSplit, indices: Sequence[int], size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Some of the indices and their leaf probabilities (some, leaves, size, size) float32, mean of
    both flips; a batch at a time."""
    device = trainer.fabric.device
    samples = ExpertSamples(split, task.tree, task.node, task.params, augment=False, device=device)
    samples.input_size = task.params.last_input_size
    assert len(samples) == len(split), "the root has every sample, so places are indices"
    for start in range(0, len(indices), BATCH):
        some = list(indices[start : start + BATCH])
        batch = samples[[(0, index) for index in some]]
        flipped = Batch(batch.image.flip(-1), batch.region.flip(-1), batch.target)
        both = [trainer.predict(some).softmax(1) for some in (batch, flipped)]
        places = task.tree.flipped(task.node)
        mean = (both[0] + both[1].flip(-1)[:, places]) / 2
        yield some, F.interpolate(mean, (size, size), mode="area").cpu().numpy()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
