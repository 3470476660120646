"""One page with all that a run found: results/report.html, which links the pictures beside it.

`python -m final_model_stage.report` reads params.yaml and what the stages before left in results/.
The same results give the same bytes, so that Git shows a change only where there is one.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from final_model_stage.evaluation.result_files import read_confusion, read_metrics
from final_model_stage.reporting.curves import iou_curves, loss_curves
from final_model_stage.reporting.levels import read_levels
from final_model_stage.reporting.templates import fill
from preprocessing_stage.dataset.atomic_write import atomic_write, read_table
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.drawing.palette import class_colours
from preprocessing_stage.params import read_yaml
from preprocessing_stage.paths import PARAMS_FILE, REPORT, RESULTS
from train_stage.params import SHARED

TEMPLATE = Path(__file__).parent / "reporting/report.html.j2"

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "lightning-fabric", "dvc")
SECTIONS = ("swap", "data", "render_people", "train", "shared", "out_of_fold", "experts", "final")
"""Of params.yaml, beside the tree, which the page draws."""

SHEETS = (
    ("examples", "Random examples"),
    ("best", "The best"),
    ("worst", "The worst"),
)
"""Pictures of results/pictures and their headings; render leaves out a sheet without images."""


@dataclass(frozen=True)
class Confusion:
    """Leaves in the order of the tree, so that siblings stand side by side."""

    names: list[str]
    shares: list[list[float | None]]
    """Of the pixels of each true leaf (row), what it was taken for; None in a row of no pixel."""
    first: list[bool]
    """Whether a leaf is the first of its siblings."""


def confusion_shares(folder: Path, tree: ClassTree) -> Confusion:
    """Of confusion.csv in `folder`."""
    leaves, counts = read_confusion(folder, tree)
    shares = [[n / row.sum() if row.any() else None for n in row] for row in counts]
    parents = [tree.parent(name) for name in leaves]
    first = [i > 0 and parents[i] != parents[i - 1] for i in range(len(leaves))]
    return Confusion(leaves, shares, first)


@dataclass(frozen=True)
class Training:
    """How the training of one network went."""

    name: str
    classes: list[str]
    figures: Mapping[str, Any]
    """Its metrics.json."""
    loss: str
    iou: str
    """Curves as addresses of pictures."""


def read_trainings(tree: ClassTree, folder: Path) -> list[Training]:
    """Of the shared network, where there is one, and of all experts.

    folder: has one for each, with metrics.json and history.csv.
    """
    splits = {SHARED: tree.flat().root} | {name: tree[name] for name in tree.experts}
    colours = class_colours(tree)
    trainings = []
    for name, node in splits.items():
        if name == SHARED and not (folder / name).exists():
            continue
        history = read_table(folder / name / "history.csv")
        classes = [child.name for child in node.children]
        trainings.append(
            Training(
                name=name,
                classes=classes,
                figures=json.loads((folder / name / "metrics.json").read_text()),
                loss=loss_curves(history),
                iou=iou_curves(history, {name: colours[name] for name in classes}),
            )
        )
    return trainings


def as_yaml(section: Mapping[str, Any]) -> str:
    text = StringIO()
    YAML().dump(dict(section), text)
    return text.getvalue()


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Of Python and the packages, without the builds that differ between machines."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name: version(name).split("+")[0] for name in packages}}


def report(params: Mapping[str, Any], results: Path) -> str:
    """The page.

    params: sections of params.yaml. results: the folder that the stages write into."""
    tree = ClassTree(params["tree"])
    figures = read_metrics(results / "final")
    frequencies = {
        (row["split"], int(row["level"]), row["name"]): row
        for row in read_table(results / "data/class_frequencies.csv")
    }
    sheets = [(title, f"pictures/{name}.jpg") for name, title in SHEETS]
    return fill(
        TEMPLATE,
        tree=tree,
        background=BACKGROUND,
        colours=class_colours(tree),
        data=params["data"],
        figures=figures,
        levels=read_levels(figures, tree),
        confusion=confusion_shares(results / "final", tree),
        trainings=read_trainings(tree, results / "experts"),
        frequencies=frequencies,
        gray=json.loads((results / "data/grayscale.json").read_text()),
        findings=[row["finding"] for row in read_table(results / "data/findings.csv")],
        samples="data/samples.jpg",
        sheets=[(title, path) for title, path in sheets if (results / path).exists()],
        params=as_yaml({key: params[key] for key in SECTIONS if key in params}),
        versions=versions(),
    )


@exits_on_user_error()
def main() -> None:
    page = report(read_yaml(PARAMS_FILE), RESULTS)
    with atomic_write(REPORT, encoding="utf-8") as file:
        file.write(page)
    print(REPORT.resolve())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
