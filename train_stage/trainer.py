"""The state of a training: an epoch, and its evaluation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn
from tqdm import tqdm

from preprocessing_stage.dataset.class_tree import IGNORE
from train_stage.dataset import Batch
from train_stage.ema import ModelEma
from train_stage.encoder_weights import load_encoder_weights
from train_stage.init_from import init_from
from train_stage.loaders import Loaders
from train_stage.losses import expert_loss
from train_stage.model import Expert, TimmEncoder
from train_stage.optimizer import make_optimizer
from train_stage.phases import Phase
from train_stage.task import Task

CHECKED_STEPS = 25
"""A GPU runs ahead of the program, and to look at a value is to wait for it; what is not finite
stays so."""


class NonFiniteLossError(FloatingPointError):
    """A loss or its gradient is nan or infinite."""

    def __init__(self, message: str, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch


class Trainer:
    """A network, its optimiser and its average, and what is done with them."""

    def __init__(self, task: Task, loaders: Loaders, fabric: Fabric) -> None:
        """Raises FileNotFoundError or UserError for weights to start from that do not fit."""
        params = task.params
        torch.manual_seed(params.seed)
        self.fabric, self.loaders, self.params = fabric, loaders, params
        self.split = loaders.split.to(fabric.device)
        self.model = Expert(params.model, task.tree.leaves_of_children(task.node))
        if params.encoder_weights and isinstance(self.model.encoder, TimmEncoder):
            net, name = self.model.encoder.net, params.model.encoder
            load_encoder_weights(net, name, params.encoder_weights)
        trained: set[str] = set()
        if task.init_file:
            trained = init_from(self.model, task.init_file, task.section, task.init_rows)
        self.model.to(fabric.device)
        own = self.model.state_dict()
        # Those that started at random are not worth keeping.
        self.first = {n: own[n].clone() for n in trained if own[n].is_floating_point()}
        self.steps_between_checks = 1 if fabric.device.type == "cpu" else CHECKED_STEPS

    def start(self, phase: Phase) -> None:
        """Set up optimiser, schedule and weight average of a phase."""
        params = self.params
        encoder, encoder_rate = self.model.encoder, phase.encoder_learning_rate
        encoder.requires_grad_(encoder_rate is not None)
        if isinstance(encoder, TimmEncoder):
            # They get no gradient where the decoder ends before, and processes that train together
            # wait for that of all others.
            encoder.norms[: self.model.finest_scale].requires_grad_(False)
        decoder = nn.ModuleList([self.model.decoder, self.model.head])
        parts: list[tuple[nn.Module, float]] = [(decoder, phase.learning_rate)]
        if encoder_rate is not None:
            parts.append((encoder, encoder_rate))
        optimizer = make_optimizer(parts, params)
        # The last step's rate is next to nothing, so a single one is the first of two.
        steps, warmup = max(2, phase.epochs * len(self.loaders.batches)), params.warmup
        if warmup * steps == 1:  # the schedule would divide by zero
            warmup = math.nextafter(warmup, 0)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            pct_start=warmup,
            cycle_momentum=False,
        )
        self.decoder_only = encoder_rate is None
        self.ema = ModelEma(self.model, params.ema_decay)
        self.fabric_model, self.optimizer = self.fabric.setup(self.model, optimizer)

    @property
    def learning_rate(self) -> float:
        """Of the decoder, at the next step."""
        return float(self.schedule.get_last_lr()[0])

    def load_ema(self) -> None:
        """Take the averaged weights over into the model at the end of a phase."""
        self.model.load_state_dict(self.ema.module.state_dict())

    @torch.no_grad()
    def average_with_start(self) -> None:
        """Take `start_weight` of the weights that the training began with into its last ones."""
        last = self.ema.module.state_dict()
        for name, first in self.first.items():
            last[name].lerp_(first, self.params.start_weight)
        self.load_ema()

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.ema.module.state_dict(),
            "averaged": self.ema.count,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["average"])
        self.ema.count = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def train_epoch(self, epoch: int, progress: tqdm[Any]) -> float:
        """One pass over the training samples; mean loss. Raises NonFiniteLossError."""
        self.loaders.batches.epoch = epoch
        # Dropout draws from the global generator: tied to the epoch, a resumed run repeats it.
        # Processes that train together leave out other channels each.
        key = (epoch, self.fabric.global_rank)
        stream = np.random.SeedSequence(self.params.seed, spawn_key=key)
        torch.manual_seed(int(stream.generate_state(1)[0]))
        self.fabric_model.train()
        if self.decoder_only:
            # The frozen encoder keeps its batch statistics too; only its dropout stays on.
            self.model.stochastic_encoder()
        total, last = torch.zeros((), device=self.fabric.device), len(self.loaders.batches) - 1
        for step, batch in enumerate(self.loaders.train):
            batch = batch.to(self.fabric.device)
            logits = scaled_up(self.fabric_model(batch.image, batch.region, batch.parent), batch)
            loss = expert_loss(logits, batch.target, self.split, self.params.loss.dice_weight)
            total += loss.detach()
            self.fabric.backward(loss)
            norm = self.fabric.clip_gradients(
                self.fabric_model,
                self.optimizer,
                max_norm=self.params.gradient_clip,
                error_if_nonfinite=False,
            )
            assert norm is not None
            if step % self.steps_between_checks == 0 or step == last:
                _check("loss", total, f"epoch {epoch}", batch)
                _check("norm of the gradient", norm, f"epoch {epoch}", batch)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.ema.update()
            progress.update()
        return float(self._sum(total)) / self.fabric.world_size / len(self.loaders.batches)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, np.ndarray]:
        """Loss and the children's confusion matrix of the averaged weights in validation.

        On the regions that it is trained on, at its input size. Raises NonFiniteLossError.
        """
        device, classes = self.fabric.device, len(self.split.child_weights)
        losses = torch.zeros(2, dtype=torch.float64, device=device)
        counts = torch.zeros(classes**2, dtype=torch.int64, device=device)
        last: Batch | None = None
        for batch in self.loaders.val:
            batch = batch.to(device)
            logits = self.predict(batch)
            loss = expert_loss(logits, batch.target, self.split, self.params.loss.dice_weight)
            losses[0] += loss.double() * len(batch.target)
            losses[1] += len(batch.target)
            truth, guess = self.split.child_of(batch.target), self.split.children(logits).argmax(1)
            known = truth != IGNORE
            pairs = truth[known] * classes + guess[known]
            counts += torch.bincount(pairs, minlength=classes**2)
            last = batch
        if last is not None:  # there may be fewer samples than processes
            _check("loss", losses[0], "validation", last)
        losses, counts = self._sum(losses), self._sum(counts)
        return float(losses[0] / losses[1]), counts.view(classes, classes).numpy()

    @torch.inference_mode()
    def predict(self, batch: Batch) -> torch.Tensor:
        """Logits (B, leaves, S, S) float32 of the averaged weights."""
        with self.fabric.autocast():
            batch = batch.to(self.fabric.device)
            return scaled_up(self.ema.module(batch.image, batch.region, batch.parent), batch)

    def in_learnt_classes(self, batch: Batch) -> tuple[Batch, torch.Tensor]:
        """A batch and its logits, both of the classes that the network learns to tell apart."""
        logits = self.predict(batch)
        if self.split.leaf_weights is not None:
            return batch, logits
        split = self.split.to(batch.target.device)
        return replace(batch, target=split.child_of(batch.target)), self.split.children(logits)

    def _sum(self, value: torch.Tensor) -> torch.Tensor:
        """Over all processes."""
        total = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(total, torch.Tensor)
        return total.cpu()


def scaled_up(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits (B, leaves, s, s) at the size of the batch's images, bilinear."""
    return F.interpolate(logits, batch.image.shape[-2:], mode="bilinear")


def _check(what: str, value: torch.Tensor, where: str, batch: Batch) -> None:
    if not torch.isfinite(value):
        raise NonFiniteLossError(
            f"{where}: the {what} is {value.item()}; lower learning_rate", batch
        )
