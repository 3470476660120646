"""The text of a model card, and the reasons why it would be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from final_model_stage.chain.settings import Settings
from final_model_stage.reporting.levels import Level, read_levels
from final_model_stage.reporting.templates import fill
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree, Node
from preprocessing_stage.params import DataParams
from train_stage.expert_params import ExpertParams
from train_stage.model_params import ModelParams
from train_stage.params import SHARED, TrainParams
from train_stage.phases import phases

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("model_card.md.j2")
WEAKEST = 3
"""Number of classes that the card names as the least reliable."""


def card_text(
    segmenter: TorchSegmenter,
    name: str,
    figures: Mapping[str, Any],
    data: DataParams,
    trained: TrainParams,
) -> str:
    """The card in Markdown. figures: the content of metrics.json. Others: its training params."""
    tree = segmenter.tree
    deepest = read_levels(figures, tree)[-1]
    return fill(
        TEMPLATE,
        name=name,
        tree=tree,
        drawn="\n".join(tree_lines(tree.root)),
        settings=segmenter.settings,
        parameters={
            expert: sum(weights.numel() for weights in network.parameters())
            for expert, network in segmenter.experts.items()
        },
        epochs={expert: epochs(trained.experts[expert]) for expert in tree.experts},
        rejecting=[
            expert for expert in tree.experts if segmenter.settings.experts[expert].model.rejects
        ],
        starts={
            expert: initial_weights(trained, trained.experts[expert]) for expert in tree.experts
        },
        data=data,
        figures=figures,
        levels=read_levels(figures, tree),
        weakest=weakest(deepest),
    )


def weakest(level: Level) -> list[tuple[str, float]]:
    """The classes with the lowest IoU, lowest first; classes without an IoU are left out."""
    known = [
        (iou, name) for name, iou in zip(level.classes, level.iou, strict=True) if iou is not None
    ]
    return [(name, iou) for iou, name in sorted(known)[:WEAKEST]]


def epochs(params: ExpertParams) -> str:
    """Epochs of each training phase."""
    return " + ".join(f"{phase.epochs} {phase.name}" for phase in phases(params))


def initial_weights(trained: TrainParams, expert: ExpertParams) -> str:
    """The weights that an expert's training started from."""
    if expert.init_from == SHARED:
        before = initial_weights(trained, trained.shared)
        return f"the shared network ({epochs(trained.shared)}), which starts from {before}"
    if expert.init_from is not None:
        return f"trained weights ({Path(expert.init_from).name})"
    if expert.encoder_weights is None:
        return "random weights"
    return f"ImageNet weights of {expert.model.encoder} ({Path(expert.encoder_weights).name})"


def tree_lines(node: Node) -> list[str]:
    """The tree as lines of text."""
    lines = [node.name if node.id is None else f"{node.name} ({node.id})"]
    for child in node.children:
        corner, edge = ("└─ ", "   ") if child is node.children[-1] else ("├─ ", "│  ")
        first, *below = tree_lines(child)
        lines += [corner + first, *(edge + line for line in below)]
    return lines


def mismatches(
    folder: Path,
    settings: Settings,
    params_tree: ClassTree,
    trained: TrainParams,
    figures: Mapping[str, Any],
) -> list[str]:
    """Reasons why a card in `folder` would be wrong or get lost, one line each.

    settings: of the segmenter. Others: of the params, and the content of metrics.json.
    """
    found = []
    tree = settings.class_tree
    workspace = folder.resolve().parent.parent
    if folder.resolve() == workspace / "models/segmenter" and (workspace / "dvc.yaml").exists():
        found.append(
            f"{folder}: is an output of DVC, which would remove the card; copy it and name the copy"
        )
    # All cards begin like the template.
    head = TEMPLATE.read_text(encoding="utf-8").partition("{{")[0].encode()
    if (folder / CARD).exists() and not (folder / CARD).read_bytes().startswith(head):
        found.append(f"{folder / CARD}: exists, and is no card of this command; move it away")
    if tree.to_dict() != params_tree.to_dict():
        found.append(
            f"{folder}: its class tree differs from that of the params; give its own with --params"
        )
    else:
        for name, expert in settings.experts.items():
            own = _network(expert.model, expert.input_size)
            params = trained.experts[name]
            if own != (other := _network(params.model, params.last_input_size)):
                found.append(
                    f"{folder}: its expert {name} is {own}, that of the params {other}; give the "
                    "params that it was trained with, with --params"
                )
    if figures.get("split", "val") != "val" or figures.get("fast"):
        found.append(
            f"the metrics are of the split {figures['split']}{', --fast' * figures['fast']}; "
            "the card shows those of val, of all views"
        )
    classes = {node.name for k in range(tree.depth) for node in tree.level(k)}
    if figures.get("iou", {}).keys() != classes:
        found.append(
            f"the metrics are of the classes {', '.join(figures.get('iou', {})) or 'none'}, the "
            f"segmenter has {', '.join(sorted(classes))}; evaluate it with "
            "python -m final_model_stage.evaluate_segmenter"
        )
    return found


def _network(model: ModelParams, input_size: int) -> str:
    return f"{model.encoder} at {input_size} pixels"
