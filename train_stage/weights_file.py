"""What a training leaves to the next stages: weights with their params, history and metrics."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from preprocessing_stage.dataset.atomic_write import atomic_write, write_json
from preprocessing_stage.paths import TRAININGS
from train_stage.dataset import Batch
from train_stage.history import History
from train_stage.task import Task


def write_results(task: Task, model: nn.Module, history: History) -> None:
    """The weights as safetensors, the history as CSV, the last epoch's figures as JSON.

    A network of a fold, which is only there to predict, leaves its weights alone.
    """
    task.weights_file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.contiguous().cpu() for name, weight in model.state_dict().items()}
    with atomic_write(task.weights_file, "wb") as file:
        file.write(save(tensors, training_metadata(task)))
    if task.fold is not None:
        return
    out = TRAININGS / task.name
    out.mkdir(parents=True, exist_ok=True)
    history.write(out / "history.csv")
    last = history.rows[-1]
    figures = {
        "mIoU": last["mIoU"],
        "iou": {name: last[f"iou_{name}"] for name in history.classes},
        "loss": last["loss"],
        "val_loss": last["val_loss"],
        "epochs": last["epoch"],
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    write_json(out / "metrics.json", figures)


def training_metadata(task: Task) -> dict[str, str]:
    """How the weights came about, as safetensors hold it.

    One key, since safetensors writes several in an order that changes from call to call.
    """
    values = {
        "expert": task.name,
        "params": task.params.model_dump(mode="json"),
        "tree": task.tree.to_dict(),
    }
    return {"training": json.dumps(values)}


def read_metadata(path: Path) -> dict[str, str]:
    """What `training_metadata` wrote into a file of weights; empty if there is none."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def write_batch(batch: Batch, path: Path) -> None:
    """A batch that ended the training, for inspection: image, region, target."""
    tensors = {name: t.cpu().contiguous() for name, t in vars(batch).items() if t is not None}
    with atomic_write(path, "wb") as file:
        file.write(save(tensors))
