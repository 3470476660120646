"""Train one expert: `python -m train_stage.train_expert NAME`.

Two phases: the whole network, then the decoder alone on the frozen encoder's varied features.
Writes models/experts/<name>.safetensors (averaged weights), results/experts/<name>/history.csv
and metrics.json, and TensorBoard events under results/metrics/<name>/.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from preprocessing_stage.class_tree import ClassTree
from preprocessing_stage.packed_samples import PACKED, PackedSplit
from preprocessing_stage.params import load_params as load_preprocessing_params
from preprocessing_stage.statistics import read_gray, read_pixels
from train_stage.checkpoint import Checkpoint, fingerprint
from train_stage.confusion import confusion_matrix, iou
from train_stage.encoder_weights import load_encoder_weights
from train_stage.losses import class_weights, expert_loss
from train_stage.model import Expert, TimmEncoder
from train_stage.params import ExpertParams, MachineParams, load_params
from train_stage.precision import pick_precision
from train_stage.record import Record
from train_stage.samples import Batch, EpochBatches, ExpertSamples, Sample, collate

MODELS = Path("models/experts")
RESULTS = Path("results/experts")


@dataclass(frozen=True)
class Phase:
    name: str
    epochs: int
    learning_rate: float
    decoder_only: bool


def phases(params: ExpertParams) -> list[Phase]:
    """The phases that a training goes through, those without epochs left out."""
    both = [
        Phase("whole", params.epochs, params.learning_rate, decoder_only=False),
        Phase("decoder", params.decoder_epochs, params.decoder_learning_rate, decoder_only=True),
    ]
    return [phase for phase in both if phase.epochs]


@dataclass(frozen=True)
class Loaders:
    train: DataLoader[Sample]
    batches: EpochBatches
    """The sampler of `train`, which has to be told the epoch."""
    val: DataLoader[Sample]
    weights: torch.Tensor
    """Class weights of the loss, (children,) float32."""


def make_loaders(
    expert: str, tree: ClassTree, params: ExpertParams, machine: MachineParams, fabric: Fabric
) -> Loaders:
    """Batches of both splits for this process, and the class weights."""
    gray = read_gray()
    train_split, val_split = PackedSplit("train"), PackedSplit("val")
    gray_share = sum(row.id in gray for row in train_split.rows) / len(train_split)
    train = ExpertSamples(
        train_split,
        tree,
        expert,
        params,
        augment=True,
        gray_share=gray_share if params.gray == "match" else 0.0,
        without=frozenset(gray if params.gray == "drop" else ()),
    )
    val = ExpertSamples(val_split, tree, expert, params, augment=False)
    share = {"rank": fabric.global_rank, "processes": fabric.world_size}
    batches = EpochBatches(len(train), params.batch_size, seed=params.seed, **share)
    in_order = EpochBatches(len(val), params.batch_size, seed=None, **share)
    options: dict[str, Any] = {"collate_fn": collate, "num_workers": machine.loader_workers}
    pixels = read_pixels("train")
    return Loaders(
        train=DataLoader(train, batch_sampler=batches, **options),
        batches=batches,
        val=DataLoader(val, batch_sampler=in_order, **options),
        weights=class_weights(
            [pixels[child.name] for child in tree[expert].children],
            params.loss.class_weight_damping,
        ),
    )


class Training:
    """The state of a run, and the two things done to it: an epoch, and its evaluation."""

    def __init__(
        self, fabric: Fabric, loaders: Loaders, params: ExpertParams, children: int
    ) -> None:
        torch.manual_seed(params.seed)
        self.fabric, self.loaders, self.params, self.children = fabric, loaders, params, children
        self.weights = loaders.weights.to(fabric.device)
        self.model = Expert(params.model, children)
        if params.encoder_weights and isinstance(self.model.encoder, TimmEncoder):
            net, name = self.model.encoder.net, params.model.encoder
            load_encoder_weights(net, name, params.encoder_weights)
        self.model.to(fabric.device)

    def start(self, phase: Phase) -> None:
        """Set up optimiser, schedule and weight average of a phase."""
        params = self.params
        self.decoder_only = phase.decoder_only
        self.model.encoder.requires_grad_(not phase.decoder_only)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, phase.learning_rate, weight_decay=params.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            phase.learning_rate,
            total_steps=phase.epochs * len(self.loaders.batches),
            pct_start=0.15,
            cycle_momentum=False,
        )
        self.average = AveragedModel(self.model, multi_avg_fn=ema_update(params.ema_decay))
        self.parallel, self.optimizer = self.fabric.setup(self.model, optimizer)

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
        """One pass over the training samples; mean loss. Raises FloatingPointError."""
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
            loss = expert_loss(
                logits, batch.target.to(logits.device), self.weights, self.params.loss.dice_weight
            )
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"epoch {epoch}: the loss is {loss.item()}; lower learning_rate"
                )
            self.fabric.backward(loss)
            self.fabric.clip_gradients(
                self.parallel, self.optimizer, max_norm=self.params.gradient_clip
            )
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.average.update_parameters(self.model)
            total += loss.detach()
            progress.update()
        return float(self._sum(total)) / self.fabric.world_size / len(self.loaders.batches)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, np.ndarray]:
        """Loss and confusion matrix of the averaged weights on the validation samples.

        True regions, at the expert's input size.
        """
        self.average.eval()
        losses = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        confusion = np.zeros((self.children, self.children), np.int64)
        for batch in self.loaders.val:
            logits = self.predict(batch)
            target = batch.target.to(logits.device)
            loss = expert_loss(logits, target, self.weights, self.params.loss.dice_weight)
            losses += torch.stack([loss.double() * len(target), torch.tensor(len(target))])
            confusion += confusion_matrix(
                batch.target.numpy(), logits.argmax(1).cpu().numpy(), self.children
            )
        losses, counts = self._sum(losses), self._sum(torch.from_numpy(confusion))
        return float(losses[0] / losses[1]), counts.numpy()

    @torch.inference_mode()
    def predict(self, batch: Batch) -> torch.Tensor:
        """Logits (B, children, S, S) float32 of the averaged weights."""
        with self.fabric.autocast():
            return self.average(*self._inputs(batch))

    def _sum(self, value: torch.Tensor) -> torch.Tensor:
        """Over all processes."""
        total = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(total, torch.Tensor)
        return total.cpu()

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch.image.to(self.fabric.device), batch.region.to(self.fabric.device)


def ema_update(decay: float) -> Any:
    """Exponential moving average of weights that follows quickly while it is young."""

    @torch.no_grad()
    def update(
        averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor
    ) -> None:
        weight = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - weight)

    return update


def train(
    expert: str,
    tree: ClassTree,
    params: ExpertParams,
    loaders: Loaders,
    fabric: Fabric,
    checkpoint: Checkpoint,
) -> tuple[dict[str, torch.Tensor], Record]:
    """Train one expert, or go on with a run that was broken off.

    Returns the averaged weights and the record of all epochs.
    """
    children = tree[expert].children
    plan = phases(params)
    training = Training(fabric, loaders, params, len(children))
    saved = checkpoint.load()
    record = Record(
        expert,
        [child.name for child in children],
        saved["history"] if saved else [],
        enabled=fabric.is_global_zero,
    )
    examples = next(iter(loaders.val))
    with tqdm(
        total=sum(phase.epochs for phase in plan) * len(loaders.batches),
        initial=len(record.history) * len(loaders.batches),
        desc=f"training {expert}",
        unit="step",
        disable=not fabric.is_global_zero,
    ) as progress:
        for index, phase in enumerate(plan):
            if saved and index < saved["phase"]:
                continue
            training.start(phase)
            done = 0
            if saved and index == saved["phase"]:
                training.restore(saved)
                done = saved["epochs_of_phase"]
            for epoch in range(done + 1, phase.epochs + 1):
                loss = training.train_epoch(len(record.history) + 1, progress)
                val_loss, confusion = training.evaluate()
                rate = float(training.schedule.get_last_lr()[0])
                row = record.add_epoch(phase.name, rate, loss, val_loss, iou(confusion))
                if epoch % params.examples_every == 0 or epoch == phase.epochs:
                    record.add_examples(examples, training.predict(examples))
                progress.set_postfix(loss=row["loss"], mIoU=row["mIoU"])
                if fabric.is_global_zero:
                    checkpoint.save(
                        training.state()
                        | {"phase": index, "epochs_of_phase": epoch, "history": record.history}
                    )
            training.finish()
    record.close()
    return training.model.state_dict(), record


def write_results(
    expert: str, weights: dict[str, torch.Tensor], record: Record, folder: Path = RESULTS
) -> None:
    """The weights as safetensors, the history as CSV, the last epoch's figures as JSON."""
    out = folder / expert
    out.mkdir(parents=True, exist_ok=True)
    record.write_history(out / "history.csv")
    last = record.history[-1]
    figures = {
        "mIoU": last["mIoU"],
        "iou": {name: last[f"iou_{name}"] for name in record.classes},
        "loss": last["loss"],
        "val_loss": last["val_loss"],
        "epochs": last["epoch"],
        "parameters": sum(weight.numel() for weight in weights.values()),
    }
    (out / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    MODELS.mkdir(parents=True, exist_ok=True)
    part = MODELS / f"{expert}.safetensors.part"
    save_file({name: weight.contiguous().cpu() for name, weight in weights.items()}, part)
    part.replace(MODELS / f"{expert}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expert", help="inner node of the class tree")
    expert = parser.parse_args().expert
    tree = load_preprocessing_params().class_tree
    train_params = load_params()
    params, machine = train_params.experts[expert], train_params.machine
    precision = pick_precision(params.precision)
    fabric = Fabric(devices=machine.devices, precision=precision)
    fabric.launch()
    checkpoint = Checkpoint(
        expert,
        {
            "params": params.model_dump(),
            "tree": tree.to_dict(),
            "data": fingerprint(PACKED / "samples.csv"),
            "code": fingerprint(Path(__file__).parent),
            "processes": fabric.world_size,
            "precision": precision,
        },
    )
    with checkpoint.locked() if fabric.is_global_zero else nullcontext():
        loaders = make_loaders(expert, tree, params, machine, fabric)
        weights, record = train(expert, tree, params, loaders, fabric, checkpoint)
        if fabric.is_global_zero:
            write_results(expert, weights, record)
            checkpoint.remove()


if __name__ == "__main__":
    main()
