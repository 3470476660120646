"""The record of a training: a table of its epochs, TensorBoard curves and examples."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from preprocessing_stage.dataset.atomic_write import write_table
from preprocessing_stage.dataset.class_tree import IGNORE
from preprocessing_stage.paths import EVENTS
from train_stage.dataset import Batch

EXAMPLES = 8

Row = dict[str, float | int | str]


class History:
    """The history of one expert's epochs, 1 and up, and its TensorBoard events."""

    def __init__(self, expert: str, classes: list[str], rows: list[Row], *, enabled: bool) -> None:
        """rows: of the epochs that were finished before a break, else empty.
        enabled: whether this process writes events.

        Events of another run are removed; events that a broken run wrote after its last finished
        epoch are purged, so that no curve runs over another.
        """
        self.classes, self.rows = classes, rows
        self._events: SummaryWriter | None = None
        if enabled:
            folder = EVENTS / expert
            if not rows:
                shutil.rmtree(folder, ignore_errors=True)
            self._events = SummaryWriter(str(folder), purge_step=len(rows) + 1)

    def add_epoch(
        self, phase: str, learning_rate: float, loss: float, val_loss: float, iou: np.ndarray
    ) -> Row:
        """Note an epoch and return its row.

        iou: (classes,) float, nan for a class that does not occur in validation."""
        epoch = len(self.rows) + 1
        mean = float(np.nanmean(iou))
        row: Row = {
            "epoch": epoch,
            "phase": phase,
            "learning_rate": round(learning_rate, 9),
            "loss": round(loss, 6),
            "val_loss": round(val_loss, 6),
            "mIoU": round(mean, 6),
        }
        row |= {f"iou_{c}": round(float(v), 6) for c, v in zip(self.classes, iou, strict=True)}
        self.rows.append(row)
        if self._events:
            scalars = {
                "learning_rate": learning_rate,
                "loss/train": loss,
                "loss/validation": val_loss,
                "mIoU": mean,
                **{f"IoU/{name}": value for name, value in zip(self.classes, iou, strict=True)},
            }
            for tag, value in scalars.items():
                self._events.add_scalar(tag, value, epoch)
            self._events.flush()
        return row

    def add_examples(self, batch: Batch, logits: Tensor) -> None:
        """Rows of image | truth | prediction, as the expert sees them.

        logits: (B, classes, S, S).
        """
        if not self._events:
            return
        table = torch.full((256, 3), 255, dtype=torch.uint8)
        colours = colormaps["tab20"](np.arange(logits.shape[1]) % 20, bytes=True)[:, :3]
        table[: len(colours)] = torch.from_numpy(colours)
        batch = batch.to(torch.device("cpu"))
        seen = (batch.image * batch.region * 255).byte()
        prediction = logits.argmax(1).cpu().masked_fill(batch.region[:, 0] == 0, IGNORE)
        rows = [
            torch.cat([image, table[true].permute(2, 0, 1), table[guess].permute(2, 0, 1)], dim=2)
            for image, true, guess in zip(seen, batch.target, prediction, strict=True)
        ]
        sheet = torch.cat(rows[:EXAMPLES], dim=1)
        self._events.add_image("image | truth | prediction", sheet, len(self.rows))

    def write(self, path: Path) -> None:
        """The table as CSV, a line an epoch."""
        write_table(path, self.rows[0], [row.values() for row in self.rows])

    def close(self) -> None:
        if self._events:
            self._events.close()
