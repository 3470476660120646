"""A training from its first epoch, or its last checkpoint, to its results."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from preprocessing_stage import dataset
from preprocessing_stage.dataset.packed_samples import CHECKSUMS
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import OUT_OF_FOLD, PACKED, STATISTICS
from train_stage.checkpoint import Checkpoint, fingerprint, remove_recorded
from train_stage.confusion import iou
from train_stage.history import History
from train_stage.loaders import make_loaders
from train_stage.memory import keep_freed_memory
from train_stage.phases import phases
from train_stage.precision import pick_precision
from train_stage.task import Task
from train_stage.trainer import CHECKED_STEPS, NonFiniteLossError, Trainer
from train_stage.weights_file import write_batch, write_results


def train(task: Task, fabric: Fabric, checkpoint: Checkpoint) -> tuple[Trainer, History]:
    """All phases and epochs of a training, from its last checkpoint on if it was interrupted."""
    loaders = make_loaders(task, fabric)
    trainer = Trainer(task, loaders, fabric)
    saved = checkpoint.load()
    history = History(
        task.name, task.children, saved["history"] if saved else [], enabled=fabric.is_global_zero
    )
    plan = phases(task.params)
    total = sum(phase.epochs for phase in plan)
    progress = tqdm(
        total=total * len(loaders.batches),
        initial=len(history.rows) * len(loaders.batches),
        desc=f"training {task.name}",
        unit="step",
        disable=not fabric.is_global_zero,
    )
    for index, phase in enumerate(plan):
        if saved and index < saved["phase"]:
            continue
        loaders.resize(phase.input_size)
        trainer.start(phase)
        examples = next(iter(loaders.val), None)
        done = 0
        if saved and index == saved["phase"]:
            trainer.restore(saved)
            done = saved["epochs_of_phase"]
        for epoch in range(done + 1, phase.epochs + 1):
            loss = trainer.train_epoch(len(history.rows) + 1, progress)
            val_loss, confusion = trainer.evaluate()
            row = history.add_epoch(
                phase.name,
                trainer.learning_rate,
                loss,
                val_loss,
                iou(confusion)[: len(task.children)],
            )
            if examples and (epoch % task.params.examples_every == 0 or epoch == phase.epochs):
                history.add_examples(*trainer.in_learnt_classes(examples))
            progress.set_postfix(loss=row["loss"], mIoU=row["mIoU"])
            if fabric.is_global_zero and (checkpoint.is_due() or epoch == phase.epochs):
                state = {"phase": index, "epochs_of_phase": epoch, "history": history.rows}
                checkpoint.save(trainer.state() | state)
        trainer.load_ema()
    trainer.average_with_start()
    progress.close()
    history.close()
    return trainer, history


def run(task: Task) -> Trainer:
    """Train and write the results.

    Raises OSError or UserError, which also if params.yaml was edited during the training: DVC
    would record the new params for it. The checkpoint stays, and with the former params the same
    command ends at once.
    """
    fabric, precision = launch(task)
    if fabric.is_global_zero:
        remove_recorded()
    checkpoint = make_checkpoint(task, fabric, precision)
    with checkpoint.locked() if fabric.is_global_zero else nullcontext():
        try:
            trainer, history = train(task, fabric, checkpoint)
            if fabric.is_global_zero:
                if not task.is_current:
                    raise UserError(
                        f"{task.name}: params.yaml was edited during the training; it is kept for "
                        "the params of before, run again for those or for the new ones"
                    )
                write_results(task, trainer.model, history)
                if task.fold is None:  # others: `finish_folds`
                    checkpoint.finish()
            return trainer
        except NonFiniteLossError as error:
            rank = f"_{fabric.global_rank}" if fabric.global_rank else ""
            path = checkpoint.folder / f"batch{rank}.safetensors"
            write_batch(error.batch, path)
            text = f"{task.name}: {error}; the batch is in {path}"
            if fabric.device.type != "cpu":
                text += f", but one of the {CHECKED_STEPS} before it may be the cause"
            raise UserError(text) from error
        except RuntimeError as error:
            text = str(error).rstrip(". ")
            if "DataLoader worker" in text:
                remedy = "want of memory ends workers, and machine.loader_workers may be smaller"
            elif isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text:
                remedy = f"batch_size or input_size of {task.section} may be smaller"
            else:
                raise
            raise UserError(
                f"{task.name}: {text}. Run again, finished epochs stay; {remedy}"
            ) from error


def launch(task: Task) -> tuple[Fabric, str]:
    """The processes of the training, and their precision."""
    precision = pick_precision(task.params.precision)
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    present, wanted = torch.cuda.device_count(), task.machine.devices
    if accelerator == "cuda" and wanted > present:
        raise UserError(f"machine.devices: is {wanted}, this machine has GPUs: {present}")
    if torch.distributed.is_torchelastic_launched():
        _check_torchrun(wanted)
    keep_freed_memory()
    fabric = Fabric(accelerator=accelerator, devices=wanted, precision=precision)
    fabric.launch()
    if (first := fabric.broadcast(precision)) != precision:
        raise UserError(
            f"{task.section}.precision: auto found {first} in one process and {precision} in "
            "another; set one of them"
        )
    return fabric, precision


def _check_torchrun(devices: int) -> None:
    """Raises UserError if torchrun started other processes than Fabric expects, which then would
    not train together."""
    started, total = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    machines, expected = total // started, int(os.environ.get("LT_NUM_NODES", "1"))
    if started != devices:
        raise UserError(
            f"machine.devices: is {devices}, but torchrun starts {started} on this machine; set it "
            f"to {started}, or --nproc-per-node to {devices}"
        )
    if machines != expected:
        raise UserError(
            f"LT_NUM_NODES: is {expected}, but torchrun starts processes on {machines} machines; "
            f"set it to {machines} on each of them"
        )


def make_checkpoint(task: Task, fabric: Fabric, precision: str) -> Checkpoint:
    """The checkpoint of this training and of no other: named for all that determines it."""
    params = task.params
    starts = [task.init_file] if task.init_file else []
    if params.encoder_weights not in (None, "package", "hub"):
        starts.append(Path(params.encoder_weights))
    if params.regions == "predicted":
        predictions = [OUT_OF_FOLD / f"{split}.npy" for split in ("train", "val")]
        if missing := [str(path) for path in predictions if not path.is_file()]:
            raise UserError(
                f"{task.section}.regions: predicted, but there is no {', '.join(missing)}; run "
                "`dvc repro predict_out_of_fold` first"
            )
        starts += predictions
    return Checkpoint(
        task.name,
        {
            "params": params.model_dump(),
            "start": fingerprint(*starts),
            "tree": json.dumps(task.tree.to_dict()),  # with the order of siblings
            "swap": task.tree.swap,
            "data": fingerprint(PACKED / CHECKSUMS, *sorted(STATISTICS.glob("*.csv"))),
            "code": fingerprint(Path(__file__).parent, Path(dataset.__file__).parent),
            "left_out": sorted(task.left_out),
            "processes": fabric.world_size,
            "precision": precision,
        },
    )
