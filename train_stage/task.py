"""What is trained: one network, the node that it splits, and everything that determines it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.params import ParamsError, load_preprocessing_params
from preprocessing_stage.paths import EXPERTS, OUT_OF_FOLD, SHARED_FILE
from train_stage.expert_params import ExpertParams
from train_stage.init_from import Head, head_rows, init_file
from train_stage.params import OF_FOLDS, SHARED, MachineParams, load_train_params, section_of


@dataclass(frozen=True)
class Task:
    name: str
    """What results call the network: `shared`, or the node's name."""
    tree: ClassTree
    node: str
    """The inner node of `tree` that the network splits."""
    params: ExpertParams
    machine: MachineParams
    weights_file: Path
    fold: int | None = None
    """Of a network that predicts out of fold."""
    left_out: frozenset[str] = frozenset()
    """Ids of the training samples of its fold."""

    @classmethod
    def of_expert(cls, name: str) -> Task:
        """The training of an expert by params.yaml. Raises ParamsError, UserError."""
        tree, train = load_preprocessing_params().class_tree, load_train_params()
        if name not in tree.experts:
            nodes = ", ".join(tree.experts)
            raise UserError(f"{name}: no inner node of the tree; they are {nodes}")
        file = EXPERTS / f"{name}.safetensors"
        return cls(name, tree, name, train.experts[name], train.machine, file)

    @classmethod
    def of_shared(cls) -> Task:
        """The shared pretraining by params.yaml, on the flat tree. Raises ParamsError."""
        tree, train = load_preprocessing_params().class_tree.flat(), load_train_params()
        return cls(SHARED, tree, tree.root.name, train.shared, train.machine, SHARED_FILE)

    @classmethod
    def of_fold(cls, fold: int, left_out: frozenset[str]) -> Task:
        """Like the shared pretraining, without some samples, by the section `out_of_fold`."""
        task = cls.of_shared()
        params = load_train_params().out_of_fold.training
        file = OUT_OF_FOLD / f"fold_{fold}.safetensors"
        return replace(
            task,
            name=f"fold_{fold}",
            params=params,
            weights_file=file,
            fold=fold,
            left_out=left_out,
        )

    @property
    def section(self) -> str:
        """Where in params.yaml the network's own keys stand."""
        return section_of(self.name) if self.fold is None else OF_FOLDS

    @property
    def is_current(self) -> bool:
        """Whether params.yaml still says the same."""
        try:
            train, tree = load_train_params(), load_preprocessing_params().class_tree
        except ParamsError:
            return False
        now = tree.flat() if self.section in (SHARED, OF_FOLDS) else tree
        return (train.networks.get(self.section), now.to_dict(), now.swap) == (
            self.params,
            self.tree.to_dict(),
            self.tree.swap,
        )

    @property
    def children(self) -> list[str]:
        """Classes that the network tells apart."""
        return [child.name for child in self.tree[self.node].children]

    @property
    def init_file(self) -> Path | None:
        """Weights that the training starts from. Raises FileNotFoundError."""
        return init_file(self.params.init_from, self.section) if self.params.init_from else None

    @property
    def init_rows(self) -> list[int] | None:
        """Which rows of the head in that file are those of its own classes, see `head_rows`."""
        own = Head(self.tree, self.node, self.params.model.targets)
        return head_rows(self.init_file, own) if self.init_file else None
