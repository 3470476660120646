"""The state of a training: an epoch, and its evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from train_stage.confusion import confusion_matrix
from train_stage.dataset import Batch
from train_stage.encoder_weights import load_encoder_weights
from train_stage.init_from import init_from
from train_stage.loaders import Loaders
from train_stage.losses import expert_loss
from train_stage.model import Expert, TimmEncoder
from train_stage.phases import Phase
from train_stage.task import Task


class NonFiniteLossError(FloatingPointError):
    """A loss or its gradient is nan or infinite."""

    def __init__(self, message: str, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch


class Trainer:
    """A network, its optimiser and its average, and what is done with them."""

    def __init__(self, task: Task, loaders: Loaders, fabric: Fabric) -> None:
        """Raises FileNotFoundError or SystemExit for weights to start from that do not fit."""
        params = task.params
        torch.manual_seed(params.seed)
        self.fabric, self.loaders, self.params = fabric, loaders, params
        self.split = loaders.split.to(fabric.device)
        self.model = Expert(params.model, len(self.split.leaf_weights))
        if params.encoder_weights and isinstance(self.model.encoder, TimmEncoder):
            net, name = self.model.encoder.net, params.model.encoder
            load_encoder_weights(net, name, params.encoder_weights)
        if task.init_file:
            init_from(self.model, task.init_file, task.init_rows)
        self.model.to(fabric.device)

    def start(self, phase: Phase) -> None:
        """Set up optimiser, schedule and weight average of a phase."""
        params = self.params
        encoder, encoder_rate = self.model.encoder, phase.encoder_learning_rate
        encoder.requires_grad_(encoder_rate is not None)
        decoder = [*self.model.decoder.parameters(), *self.model.head.parameters()]
        groups, rates = [{"params": decoder}], [phase.learning_rate]
        if encoder_rate is not None:
            groups.append({"params": [*encoder.parameters()]})
            rates.append(encoder_rate)
        optimizer = torch.optim.AdamW(groups, weight_decay=params.weight_decay, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            rates,
            total_steps=phase.epochs * len(self.loaders.batches),
            pct_start=params.warmup,
            cycle_momentum=False,
        )
        self.decoder_only = encoder_rate is None
        self.average = AveragedModel(self.model, multi_avg_fn=ema_update(params.ema_decay))
        self.parallel, self.optimizer = self.fabric.setup(self.model, optimizer)

    @property
    def learning_rate(self) -> float:
        """Of the decoder, at the next step."""
        return float(self.schedule.get_last_lr()[0])

    def finish(self) -> None:
        """Take the averaged weights over into the model at the end of a phase."""
        self.model.load_state_dict(self.average.module.state_dict())

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def train_epoch(self, epoch: int, progress: tqdm[Any]) -> float:
        """One pass over the training samples; mean loss. Raises NonFiniteLossError."""
        self.loaders.batches.epoch = epoch
        # Dropout draws from the global generator: tied to the epoch, a resumed run repeats it.
        torch.manual_seed(np.random.SeedSequence([self.params.seed, epoch]).generate_state(1)[0])
        self.parallel.train()
        if self.decoder_only:
            # The frozen encoder keeps its batch statistics too; only its dropout stays on.
            self.model.stochastic_encoder()
        total = torch.zeros((), device=self.fabric.device)
        for batch in self.loaders.train:
            logits = self.parallel(*self._inputs(batch))
            target = batch.target.to(logits.device)
            loss = expert_loss(logits, target, self.split, self.params.loss.dice_weight)
            _check("loss", loss, f"epoch {epoch}", batch)
            self.fabric.backward(loss)
            norm = self.fabric.clip_gradients(
                self.parallel,
                self.optimizer,
                max_norm=self.params.gradient_clip,
                error_if_nonfinite=False,
            )
            assert norm is not None
            _check("norm of the gradient", norm, f"epoch {epoch}", batch)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.average.update_parameters(self.model)
            total += loss.detach()
            progress.update()
        return float(self._sum(total)) / self.fabric.world_size / len(self.loaders.batches)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, np.ndarray]:
        """Loss and the children's confusion matrix of the averaged weights in validation.

        True regions, at the expert's input size. Raises NonFiniteLossError.
        """
        self.average.eval()
        losses = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        children = len(self.split.child_weights)
        confusion = np.zeros((children, children), np.int64)
        for batch in self.loaders.val:
            logits = self.predict(batch)
            target = batch.target.to(logits.device)
            loss = expert_loss(logits, target, self.split, self.params.loss.dice_weight)
            _check("loss", loss, "validation", batch)
            losses[0] += loss.double() * len(target)
            losses[1] += len(target)
            truth, guess = self.split.child_of(target), self.split.children(logits).argmax(1)
            confusion += confusion_matrix(truth.cpu().numpy(), guess.cpu().numpy(), children)
        losses, counts = self._sum(losses), self._sum(torch.from_numpy(confusion))
        return float(losses[0] / losses[1]), counts.numpy()

    @torch.inference_mode()
    def predict(self, batch: Batch) -> torch.Tensor:
        """Logits (B, leaves, S, S) float32 of the averaged weights."""
        with self.fabric.autocast():
            result: torch.Tensor = self.average(*self._inputs(batch))
            return result

    def _sum(self, value: torch.Tensor) -> torch.Tensor:
        """Over all processes."""
        total = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(total, torch.Tensor)
        return total.cpu()

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch.image.to(self.fabric.device), batch.region.to(self.fabric.device)


def _check(what: str, value: torch.Tensor, where: str, batch: Batch) -> None:
    if not torch.isfinite(value):
        raise NonFiniteLossError(
            f"{where}: the {what} is {value.item()}; lower learning_rate", batch
        )


def ema_update(decay: float) -> Any:
    """Exponential moving average of weights that follows quickly while it is young."""

    @torch.no_grad()
    def update(
        averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor
    ) -> None:
        weight = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - weight)

    return update
