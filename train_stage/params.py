"""Schema of the sections `train`, `shared`, `experts` and `machine` of `params.yaml`.

`train` holds for every network; `shared` and `experts.<name>` override single keys of it for the
shared start and for one expert.
`machine` says where to run, so no stage depends on it. With more processes results differ
slightly, and `norm: batch` has the statistics of each one's share of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from preprocessing_stage.dataset.class_tree import ClassTree, tree_problems
from preprocessing_stage.params import ParamsError, Section, read_yaml, validate
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.expert_params import ExpertParams

SHARED = "shared"
"""What `init_from` calls the network that `train_stage.train_shared` trains."""

WITHOUT_PARENT = {"regions": "labelled", "model": {"parent_channels": False, "rejects": False}}
"""Of the shared network and the root, which look at the whole image."""


class MachineParams(Section):
    devices: int = Field(ge=1, le=1024)
    """Devices a process group trains on; GPUs if there are any, else processes on the CPU."""
    loader_workers: int = Field(ge=0, le=256)
    """Processes that prepare samples; 0 = the training process itself, best without a GPU."""


class OutOfFoldParams(Section):
    """Predictions of the training samples by networks that were not trained on them."""

    folds: Annotated[int, Field(ge=2, le=20)]
    map_size: Annotated[int, Field(ge=8, le=1024)]
    """Side in pixels of the square that a prediction is kept in."""
    training: ExpertParams
    """Of each fold's network; overrides `shared`."""


def section_of(name: str) -> str:
    """Where in the params a network's own keys stand: `shared`, or `experts.<name>`."""
    return name if name == SHARED else f"experts.{name}"


class TrainParams(Section):
    shared: ExpertParams
    """Of the network that all experts with `init_from: shared` start from."""
    out_of_fold: OutOfFoldParams
    experts: dict[str, ExpertParams]
    machine: MachineParams


def load_params(path: Path = PARAMS_FILE) -> TrainParams:
    """The params of the train stage, overrides merged. Raises ParamsError with all problems."""
    params, problems = train_problems(read_yaml(path))
    if params is None:
        raise ParamsError(path, problems)
    return params


def train_problems(sections: Mapping[str, Any]) -> tuple[TrainParams | None, list[str]]:
    """The params of this stage out of all sections, or None and all problems."""
    problems = [
        f"{key}: is missing"
        for key in ("train", "shared", "out_of_fold", "experts", "machine")
        if key not in sections
    ]
    problems += [
        f"{key}: needs keys and values, got {sections[key]!r}"
        for key in ("train", "shared", "out_of_fold", "experts")
        if not isinstance(sections.get(key, {}), Mapping)
    ]
    machine = None
    if "machine" in sections:
        machine, found = validate(MachineParams, sections["machine"], "machine")
        problems += found
    defaults, own = sections.get("train"), sections.get("experts")
    shared, out_of_fold = sections.get("shared"), sections.get("out_of_fold")
    if not (
        isinstance(defaults, Mapping)
        and isinstance(shared, Mapping)
        and isinstance(own, Mapping)
        and isinstance(out_of_fold, Mapping)
    ):
        return None, problems
    whole = {SHARED}
    if not tree_problems(sections.get("tree")):
        whole.add(section_of(ClassTree(sections["tree"]).root.name))
        wanted = ClassTree(sections["tree"]).experts
        if SHARED in wanted:
            problems.append(f"tree: {SHARED!r} is the shared pretraining; call the node otherwise")
        problems += [
            f"experts.{name}: is missing, the tree has it" for name in wanted if name not in own
        ]
        problems += [
            f"experts.{name}: no inner node of the tree has this name; they are {', '.join(wanted)}"
            for name in own
            if name not in wanted
        ]
    _, default_problems = validate(ExpertParams, defaults, "train")
    problems += default_problems
    inherited = {p.removeprefix("train") for p in default_problems}

    def merged(section: str, overrides: Mapping[str, Any]) -> ExpertParams | None:
        values = merge(defaults, WITHOUT_PARENT) if section in whole else defaults
        params, found = validate(ExpertParams, merge(values, overrides), section)
        problems.extend(p for p in found if p.removeprefix(section) not in inherited)
        return params

    start = merged(section_of(SHARED), shared)
    if start and start.init_from == SHARED:
        problems.append("shared.init_from: shared cannot start from itself, set it to null")
    of_folds = None
    if start:
        values = dict(out_of_fold)
        if isinstance(overrides := out_of_fold.get("training"), Mapping):
            values["training"] = merge(merge(merge(defaults, WITHOUT_PARENT), shared), overrides)
        of_folds, found = validate(OutOfFoldParams, values, "out_of_fold")
        problems += found
    experts = {}
    for name, overrides in own.items():
        overrides = {} if overrides is None else overrides
        if isinstance(overrides, Mapping):
            experts[name] = expert = merged(section_of(name), overrides)
            if start and expert and expert.init_from == SHARED:
                problems += [
                    f"{section_of(name)}.model.{key}: is {value}, in shared {wanted}; a network "
                    "that starts from shared has to be alike"
                    for key, value, wanted in start.model.differences(expert.model)
                ]
        else:
            problems.append(f"experts.{name}: needs keys and values, got {overrides!r}")
    if problems:
        return None, problems
    sections = {"shared": start, "out_of_fold": of_folds, "experts": experts, "machine": machine}
    return validate(TrainParams, sections)


def merge(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with single keys, at any depth, replaced by `overrides`."""
    merged = dict(defaults)
    for key, value in overrides.items():
        below = defaults.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
