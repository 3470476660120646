"""Write the model card of a segmenter that is to be passed on: its README.md.

    cp -r models/segmenter pretrained/mine
    python -m deploy.model_card pretrained/mine results/final/metrics.json

The card says what the segmenter is, what it was trained on and for, what it reached and what it
is not for. The figures are those of the METRICS file, which evaluate_segmenter wrote for the
validation split of the data that the params describe.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from final_model_stage.reporting.levels import Level, read_levels
from final_model_stage.reporting.templates import fill
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import ClassTree, Node
from preprocessing_stage.params import DataParams
from preprocessing_stage.params import load_params as load_preprocessing_params
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.params import SHARED, ExpertParams, TrainParams
from train_stage.params import load_params as load_train_params
from train_stage.phases import phases

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("model_card.md.j2")
WEAKEST = 3
"""Classes that the card names as the least reliable."""


def model_card(
    segmenter: Segmenter,
    name: str,
    figures: Mapping[str, Any],
    data: DataParams,
    trained: TrainParams,
) -> str:
    """The card in Markdown. figures: what metrics.json holds."""
    tree = segmenter.tree
    deepest = read_levels(figures, tree)[-1]
    return fill(
        TEMPLATE,
        name=name,
        tree=tree,
        count="\n".join(drawn(tree.root)),
        settings=segmenter.settings,
        parameters={
            expert: sum(weights.numel() for weights in network.parameters())
            for expert, network in segmenter.experts.items()
        },
        epochs={expert: epochs(trained.experts[expert]) for expert in tree.experts},
        starts={expert: start(trained, trained.experts[expert]) for expert in tree.experts},
        data=data,
        figures=figures,
        levels=read_levels(figures, tree),
        weakest=weakest(deepest),
    )


def weakest(level: Level) -> list[tuple[str, float]]:
    """The classes with the lowest IoU, the lowest first; one without a figure is none of them."""
    known = [
        (iou, name) for name, iou in zip(level.classes, level.iou, strict=True) if iou is not None
    ]
    return [(name, iou) for iou, name in sorted(known)[:WEAKEST]]


def epochs(params: ExpertParams) -> str:
    """Epochs of each phase of a training."""
    return " + ".join(f"{phase.epochs} {phase.name}" for phase in phases(params))


def start(trained: TrainParams, expert: ExpertParams) -> str:
    """Where an expert's weights came from before its training."""
    if expert.init_from == SHARED:
        before = start(trained, trained.shared)
        return f"the shared network ({epochs(trained.shared)}), which starts from {before}"
    if expert.init_from is not None:
        return f"trained weights ({Path(expert.init_from).name})"
    if expert.encoder_weights is None:
        return "random weights"
    return f"ImageNet weights of {expert.model.encoder} ({Path(expert.encoder_weights).name})"


def drawn(node: Node) -> list[str]:
    """The tree as lines of text."""
    lines = [node.name if node.id is None else f"{node.name} ({node.id})"]
    for child in node.children:
        corner, edge = ("└─ ", "   ") if child is node.children[-1] else ("├─ ", "│  ")
        first, *below = drawn(child)
        lines += [corner + first, *(edge + line for line in below)]
    return lines


def problems(
    folder: Path, tree: ClassTree, params_tree: ClassTree, figures: Mapping[str, Any]
) -> list[str]:
    """Why a card of the segmenter in `folder` would be wrong or get lost, one line each."""
    found = []
    workspace = folder.resolve().parent.parent
    if folder.resolve() == workspace / "models/segmenter" and (workspace / "dvc.yaml").exists():
        found.append(
            f"{folder}: belongs to DVC, which would remove the card; copy it and name the copy"
        )
    if tree.to_dict() != params_tree.to_dict():
        found.append(f"{folder}: has another tree than the params; give its own with --params")
    classes = {node.name for k in range(tree.depth) for node in tree.level(k)}
    if figures.get("iou", {}).keys() != classes:
        found.append(
            f"the figures are of the classes {', '.join(figures.get('iou', {})) or 'none'}, the "
            f"segmenter has {', '.join(sorted(classes))}; evaluate it with "
            "python -m final_model_stage.evaluate_segmenter"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("segmenter", type=Path, help="folder with segmenter.json")
    parser.add_argument("metrics", type=Path, help="metrics.json of its evaluation")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE, help="that it was trained with")
    arguments = parser.parse_args()
    try:
        segmenter = Segmenter.load(arguments.segmenter)
        figures = json.loads(arguments.metrics.read_text())
        preprocessing = load_preprocessing_params(arguments.params)
        trained = load_train_params(arguments.params)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    folder = arguments.segmenter
    if found := problems(folder, segmenter.tree, preprocessing.class_tree, figures):
        raise SystemExit("\n".join(found))
    card = model_card(segmenter, folder.resolve().name, figures, preprocessing.data, trained)
    with atomic_write(folder / CARD, encoding="utf-8") as file:
        file.write(card)
    print(folder / CARD)


if __name__ == "__main__":
    main()
