"""Train one expert: `python -m train_stage.train_expert NAME`.

Phases: the whole network, if the params say so again at a larger input, then the decoder alone on
the frozen encoder's varied features.
Writes models/experts/<name>.safetensors (averaged weights), results/experts/<name>/history.csv
and metrics.json, and TensorBoard events under results/metrics/<name>/.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from safetensors.torch import save
from torch.utils.data import DataLoader
from tqdm import tqdm

from preprocessing_stage.dataset.atomic_write import atomic_write, write_json
from preprocessing_stage.dataset.class_tree import ClassTree, Node
from preprocessing_stage.dataset.packed_samples import CHECKSUMS, DamagedError, PackedSplit
from preprocessing_stage.dataset.statistics import read_gray, read_pixels
from preprocessing_stage.params import load_params as load_preprocessing_params
from preprocessing_stage.paths import EXPERTS, PACKED, STATISTICS, TRAININGS
from train_stage.checkpoint import Checkpoint, fingerprint, remove_recorded
from train_stage.confusion import iou
from train_stage.dataset import Batch, EpochBatches, ExpertSamples, collate
from train_stage.history import Record
from train_stage.init_from import init_file
from train_stage.losses import WeightedSplit, class_weights
from train_stage.params import SHARED, ExpertParams, MachineParams, load_params, section_of
from train_stage.precision import pick_precision
from train_stage.trainer import Loaders, NonFiniteLossError, Phase, Training


def phases(params: ExpertParams) -> list[Phase]:
    """The phases that a training goes through, those without epochs left out."""
    rate, encoder_rate = params.learning_rate, params.encoder_learning_rate
    plan = [Phase("whole", params.input_size, params.epochs, rate, encoder_rate)]
    last = params.last_input_size
    if params.high_resolution:
        high_rate = params.high_resolution.learning_rate
        in_proportion = encoder_rate * high_rate / rate
        plan.append(
            Phase("high_resolution", last, params.high_resolution.epochs, high_rate, in_proportion)
        )
    if params.decoder_epochs:
        plan.append(
            Phase("decoder", last, params.decoder_epochs, params.decoder_learning_rate, None)
        )
    return plan


def make_loaders(
    name: str,
    expert: str,
    tree: ClassTree,
    params: ExpertParams,
    machine: MachineParams,
    fabric: Fabric,
) -> Loaders:
    """Batches of both splits for this process, and the split with its class weights."""
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
    if batches.batch_size % fabric.world_size:
        raise SystemExit(
            f"{section_of(name)}.batch_size: {batches.batch_size} is no multiple of the "
            f"{fabric.world_size} processes; each takes an equal share of every batch, and there "
            f"are {len(train)} samples"
        )
    in_order = EpochBatches(len(val), params.batch_size, seed=None, **share)
    options: dict[str, Any] = {"collate_fn": collate, "num_workers": machine.loader_workers}
    pixels = read_pixels("train")

    def weights(nodes: Sequence[Node]) -> torch.Tensor:
        counts = [pixels[node.name] for node in nodes]
        return class_weights(counts, params.loss.class_weight_power)

    return Loaders(
        train=DataLoader(train, batch_sampler=batches, **options),
        batches=batches,
        val=DataLoader(val, batch_sampler=in_order, **options),
        split=WeightedSplit(
            torch.from_numpy(tree.leaves_of_children(expert)),
            leaf_weights=weights(tree.leaves_of(expert)),
            child_weights=weights(tree[expert].children),
        ),
    )


def train(
    name: str,
    children: list[str],
    params: ExpertParams,
    loaders: Loaders,
    rows: Sequence[int] | None,
    fabric: Fabric,
    checkpoint: Checkpoint,
) -> tuple[dict[str, torch.Tensor], Record]:
    """Train the network called `name`, or go on with a run that was broken off.

    rows: of the head to start from, see `init_from`.
    Returns the averaged weights and the record of all epochs.
    """
    plan = phases(params)
    start = init_file(params.init_from, name) if params.init_from else None
    training = Training(fabric, loaders, params, start, rows)
    saved = checkpoint.load()
    record = Record(
        name,
        children,
        saved["history"] if saved else [],
        enabled=fabric.is_global_zero,
    )
    with tqdm(
        total=sum(phase.epochs for phase in plan) * len(loaders.batches),
        initial=len(record.history) * len(loaders.batches),
        desc=f"training {name}",
        unit="step",
        disable=not fabric.is_global_zero,
    ) as progress:
        for index, phase in enumerate(plan):
            if saved and index < saved["phase"]:
                continue
            loaders.resize(phase.input_size)
            training.start(phase)
            examples = next(iter(loaders.val), None)
            done = 0
            if saved and index == saved["phase"]:
                training.restore(saved)
                done = saved["epochs_of_phase"]
            for epoch in range(done + 1, phase.epochs + 1):
                loss = training.train_epoch(len(record.history) + 1, progress)
                val_loss, confusion = training.evaluate()
                rate = float(training.schedule.get_last_lr()[0])
                row = record.add_epoch(phase.name, rate, loss, val_loss, iou(confusion))
                if examples and (epoch % params.examples_every == 0 or epoch == phase.epochs):
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
    name: str, weights: dict[str, torch.Tensor], record: Record, weights_file: Path
) -> None:
    """The weights as safetensors, the history as CSV, the last epoch's figures as JSON."""
    out = TRAININGS / name
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
    write_json(out / "metrics.json", figures)
    weights_file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(weights_file, "wb") as file:
        file.write(save({name: weight.contiguous().cpu() for name, weight in weights.items()}))


def write_batch(batch: Batch, path: Path) -> None:
    """A batch that broke the training off, to be looked at: image, region, target."""
    tensors = {"image": batch.image, "region": batch.region, "target": batch.target}
    with atomic_write(path, "wb") as file:
        file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def run(
    name: str,
    expert: str,
    tree: ClassTree,
    params: ExpertParams,
    machine: MachineParams,
    weights_file: Path,
) -> None:
    """Train the network that splits the node `expert` of `tree`; `name` is what results call it.

    Raises SystemExit in words for all that the machine or the data may do to it.
    """
    precision = pick_precision(params.precision)
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=machine.devices, precision=precision)
    fabric.launch()
    if (first := fabric.broadcast(precision)) != precision:
        raise SystemExit(
            f"{section_of(name)}.precision: auto found {first} in one process and {precision} in "
            "another; set one of them"
        )
    if fabric.is_global_zero:
        remove_recorded()
    starts = [init_file(params.init_from, name)] if params.init_from else []
    if params.encoder_weights not in (None, "package", "hub"):
        starts.append(Path(params.encoder_weights))
    checkpoint = Checkpoint(
        name,
        {
            "params": params.model_dump(),
            "start": fingerprint(*starts),
            "tree": tree.to_dict(),
            "data": fingerprint(PACKED / CHECKSUMS, *sorted(STATISTICS.glob("*.csv"))),
            "code": fingerprint(Path(__file__).parent),
            "processes": fabric.world_size,
            "precision": precision,
        },
    )
    with checkpoint.locked() if fabric.is_global_zero else nullcontext():
        try:
            loaders = make_loaders(name, expert, tree, params, machine, fabric)
            children = [child.name for child in tree[expert].children]
            rows = tree.rows(expert) if params.init_from == SHARED else None
            weights, record = train(name, children, params, loaders, rows, fabric, checkpoint)
            if fabric.is_global_zero:
                write_results(name, weights, record, weights_file)
                checkpoint.finish()
        except NonFiniteLossError as error:
            rank = f"_{fabric.global_rank}" if fabric.global_rank else ""
            path = checkpoint.folder / f"batch{rank}.safetensors"
            write_batch(error.batch, path)
            raise SystemExit(f"{name}: {error}; the batch is in {path}") from error
        except (OSError, DamagedError) as error:
            raise SystemExit(f"{name}: {error}") from error
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise SystemExit(
                f"{name}: {str(error).rstrip('. ')}. Run again, finished epochs stay; want of "
                "memory ends workers, and machine.loader_workers may be smaller"
            ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expert", help="inner node of the class tree")
    expert = parser.parse_args().expert
    tree = load_preprocessing_params().class_tree
    params = load_params()
    if expert not in tree.experts:
        raise SystemExit(f"{expert}: no inner node of the tree; they are {', '.join(tree.experts)}")
    weights_file = EXPERTS / f"{expert}.safetensors"
    run(expert, expert, tree, params.experts[expert], params.machine, weights_file)


if __name__ == "__main__":
    main()
