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

OF_FOLDS = "out_of_fold.training"
"""Section of the networks that predict samples which they were not trained on."""

WITHOUT_PARENT = {"regions": "labelled", "model": {"parent_channels": False, "rejects": False}}
"""Overrides `train` for the networks that look at the whole image: the shared one and the root."""


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
    """Of each fold's network; overrides `shared`, from which it cannot start: that has seen the
    samples which the fold must not know."""


def section_of(name: str) -> str:
    """Where in the params a network's own keys stand: `shared`, or `experts.<name>`."""
    return name if name == SHARED else f"experts.{name}"


class TrainParams(Section):
    shared: ExpertParams
    """Of the network that all experts with `init_from: shared` start from."""
    out_of_fold: OutOfFoldParams
    experts: dict[str, ExpertParams]
    machine: MachineParams

    @property
    def networks(self) -> dict[str, ExpertParams]:
        """Section -> params of all networks that are trained."""
        networks = {SHARED: self.shared}
        networks |= {section_of(name): params for name, params in self.experts.items()}
        if any(params.regions == "predicted" for params in self.experts.values()):
            networks[OF_FOLDS] = self.out_of_fold.training
        return networks


def load_train_params(path: Path = PARAMS_FILE) -> TrainParams:
    """The params of the train stage, overrides merged. Raises ParamsError with all problems."""
    params, problems = train_problems(read_yaml(path))
    if params is None:
        raise ParamsError(path, problems)
    return params


def train_problems(sections: Mapping[str, Any]) -> tuple[TrainParams | None, list[str]]:
    """The params of this stage out of all sections, or None and all problems."""
    problems = _missing(sections)
    machine = None
    if "machine" in sections:
        machine, found = validate(MachineParams, sections["machine"], "machine")
        problems += found
    if not all(isinstance(sections.get(key), Mapping) for key in OF_NETWORKS):
        return None, problems
    problems += _unlike_tree(sections)
    networks = _Networks(sections)
    shared = networks.read(SHARED, sections["shared"])
    out_of_fold = networks.read_out_of_fold(sections["out_of_fold"]) if shared else None
    if shared and shared.init_from == SHARED:
        networks.problems.append(
            "shared.init_from: shared cannot start from itself, set it to null"
        )
    elif out_of_fold and out_of_fold.training.init_from == SHARED:
        networks.problems.append(
            f"{OF_FOLDS}.init_from: is shared, which has seen the samples that a fold "
            "must not know; set it to null"
        )
    experts = {}
    for name, overrides in sections["experts"].items():
        experts[name] = expert = networks.read(section_of(name), overrides)
        if shared and expert and expert.init_from == SHARED:
            networks.problems += [
                f"{section_of(name)}.model.{key}: is {value}, in shared {wanted}; a network "
                "that starts from shared has to be alike"
                for key, wanted, value in expert.model.differences(shared.model)
            ]
    if problems := problems + networks.problems:
        return None, problems
    read = {"shared": shared, "out_of_fold": out_of_fold, "experts": experts, "machine": machine}
    return validate(TrainParams, read)


OF_NETWORKS = ("train", "shared", "out_of_fold", "experts")
"""Sections that say what networks are and how they are trained."""


def _missing(sections: Mapping[str, Any]) -> list[str]:
    return [f"{key}: is missing" for key in (*OF_NETWORKS, "machine") if key not in sections] + [
        f"{key}: needs keys and values, got {sections[key]!r}"
        for key in OF_NETWORKS
        if not isinstance(sections.get(key, {}), Mapping)
    ]


def _unlike_tree(sections: Mapping[str, Any]) -> list[str]:
    """Where the experts are not those of the tree, unless that has problems of its own."""
    if tree_problems(sections.get("tree")):
        return []
    own, wanted = sections["experts"], ClassTree(sections["tree"]).experts
    problems = []
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
    return problems


class _Networks:
    """Reads the params of networks, what they leave out from `train`, and collects problems."""

    def __init__(self, sections: Mapping[str, Any]) -> None:
        self.defaults, self.shared = sections["train"], sections["shared"]
        self.whole = {SHARED}
        """Sections of networks that look at the whole image."""
        if not tree_problems(sections.get("tree")):
            self.whole.add(section_of(ClassTree(sections["tree"]).root.name))
        _, self.problems = validate(ExpertParams, self.defaults, "train")
        self._inherited = {problem.removeprefix("train") for problem in self.problems}

    def read(self, section: str, overrides: Any) -> ExpertParams | None:
        """overrides: what the section holds; None = nothing."""
        if not isinstance(overrides, Mapping | None):
            self.problems.append(f"{section}: needs keys and values, got {overrides!r}")
            return None
        values = merge(self._defaults(section), overrides or {})
        params, found = validate(ExpertParams, values, section)
        self.problems += [p for p in found if p.removeprefix(section) not in self._inherited]
        if section in self.whole:
            self._refuse_regions(section, params)
        return params

    def read_out_of_fold(self, section: Mapping[str, Any]) -> OutOfFoldParams | None:
        values = dict(section)
        if isinstance(overrides := section.get("training"), Mapping):
            values["training"] = merge(merge(self._defaults(SHARED), self.shared), overrides)
        params, found = validate(OutOfFoldParams, values, "out_of_fold")
        self.problems += found
        self._refuse_regions(OF_FOLDS, params.training if params else None)
        return params

    def _refuse_regions(self, section: str, params: ExpertParams | None) -> None:
        """Of a network that looks at the whole image."""
        if params and params.regions == "predicted":
            self.problems.append(
                f"{section}.regions: is predicted, but it looks at the whole image; set it to "
                "labelled"
            )

    def _defaults(self, section: str) -> Mapping[str, Any]:
        return merge(self.defaults, WITHOUT_PARENT) if section in self.whole else self.defaults


def merge(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with single keys, at any depth, replaced by `overrides`."""
    merged = dict(defaults)
    for key, value in overrides.items():
        below = defaults.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
