"""Start an expert from the weights of a trained one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from preprocessing_stage.dataset.class_tree import ClassTree, tree_problems
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import SHARED_FILE
from train_stage.params import OF_FOLDS, SHARED


def init_file(source: str, section: str) -> Path:
    """`source` itself, in a folder the file named for the expert, or for `shared` its file.

    section: where the network's params stand; those of folds are like the shared one.
    Raises FileNotFoundError if there is none.
    """
    path = SHARED_FILE if source == SHARED else Path(source)
    if path.is_dir():
        path /= f"{network_name(section)}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{section}.init_from: there is no {path}")
    return path


def network_name(section: str) -> str:
    """What a file of weights of the network is called; those of folds are like the shared one."""
    return SHARED if section == OF_FOLDS else section.rpartition(".")[2]


@dataclass(frozen=True)
class Head:
    """Of a file of weights: what its head tells apart."""

    tree: ClassTree
    node: str
    targets: str

    @property
    def classes(self) -> list[str]:
        """By name, a row each."""
        if self.targets == "children":
            return [child.name for child in self.tree[self.node].children]
        return [leaf.name for leaf in self.tree.leaves_of(self.node)]


def head_rows(path: Path, own: Head) -> list[int] | None:
    """Which rows of a file's head are those of the own classes, by their names, and of no class
    where the file has that too; none, [], if it was trained for others. None if it is not known:
    a file that does not say so itself, as trainings write it, nor lies in a segmenter's folder.

    Raises UserError if the file or its segmenter is damaged.
    """
    said = _said_by(path)
    source = path.stem if path.stem != SHARED else own.tree.root.name
    if said is None and source not in own.tree.experts:
        return None
    theirs = (said or Head(own.tree, source, own.targets)).classes
    further = _rows_in(path) - len(theirs)
    if not set(own.classes) <= set(theirs) or further not in (0, 1):
        return [] if said else None
    return [theirs.index(name) for name in own.classes] + [len(theirs)] * further


def _rows_in(path: Path) -> int:
    with _opened(path) as file:
        names = file.keys()
        return file.get_slice("head.bias").get_shape()[0] if "head.bias" in names else 0


def _said_by(path: Path) -> Head | None:
    """What the file of weights says of itself, or else the segmenter in its folder."""
    with _opened(path) as file:
        metadata = file.metadata() or {}
    segmenter = path.parent / "segmenter.json"
    place = path if "training" in metadata else segmenter
    if place == segmenter and not segmenter.is_file():
        return None
    try:
        if place == path:
            values = json.loads(metadata["training"])
            name, targets = values["expert"], values["params"]["model"]["targets"]
        else:
            values = json.loads(segmenter.read_text())
            name, experts = path.stem, values["experts"]
            if name not in experts:
                return None
            targets = experts[name]["model"].get("targets", "leaves")
        tree = values["tree"]
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"init_from: {place} is damaged: {error!r}") from error
    if problems := tree_problems(tree):
        raise UserError(f"init_from: {place} is damaged: {problems[0]}")
    found = ClassTree(tree)
    return Head(found, name if name in found.experts else found.root.name, targets)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise UserError(f"init_from: {path} is damaged or no safetensors file: {error}") from error


def init_from(
    model: nn.Module, path: Path, section: str, rows: Sequence[int] | None = None
) -> set[str]:
    """Fill the network `model` from a file; a head for other classes starts anew, and so do
    the channels of its parent; a decoder that ends at a coarser scale takes the coarser blocks.

    section: where the network's params stand. rows: see `head_rows`; without them it takes the head
    of its own name's file alone, since as many leaves need not be the same.
    Returns the names of the tensors that were taken over.
    Raises UserError if the network in the file is another one, or the file damaged.
    """
    with _opened(path) as file:
        names = file.keys()
        stored, own = {name: file.get_tensor(name) for name in names}, model.state_dict()
    if rows is not None and [*rows] != [*range(len(stored.get("head.bias", rows)))]:
        # Its parent's channels are those of other classes, or in another order.
        first = next(name for name, tensor in own.items() if tensor.ndim == 4)
        if first in stored:
            stored[first] = stored[first][:, :3]
    if rows is not None and "head.weight" in stored:
        for name in ("head.weight", "head.bias"):
            head = stored[name][list(rows)][: len(own[name])]
            if len(own[name]) == len(head) + 1:  # that of no class
                head = torch.cat([head, torch.zeros_like(head[:1])])
            stored[name] = head
    elif path.stem != network_name(section):
        stored = {name: tensor for name, tensor in stored.items() if not name.startswith("head.")}
    stored = without_finest_scales(stored, own)
    stored |= {n: with_further_inputs(t, own[n].shape) for n, t in stored.items() if n in own}
    kept = {name for name in own if name in stored and stored[name].shape == own[name].shape}
    odd = sorted((own.keys() | stored.keys()) - kept)
    if other := [name for name in odd if not name.startswith("head.")]:
        raise UserError(
            f"init_from: {path} holds another network, {len(other)} tensors differ, such as "
            f"{other[0]}; give both the same `model`"
        )
    model.load_state_dict({name: stored[name] for name in kept}, strict=False)
    return kept


def without_finest_scales(stored: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The stored tensors but for the decoder's finest scales that the own one ends before."""
    extra = _decoder_scales(stored) - _decoder_scales(own)
    if extra <= 0:
        return stored
    result = {}
    for name, tensor in stored.items():
        match name.split("."):
            case ["decoder", part, scale, *rest]:
                if int(scale) >= extra:
                    result[".".join(["decoder", part, str(int(scale) - extra), *rest])] = tensor
            case _:
                result[name] = tensor
    return result


def _decoder_scales(tensors: dict[str, Tensor]) -> int:
    return sum(name.startswith("decoder.narrow.") and name.endswith(".bias") for name in tensors)


def with_further_inputs(weights: Tensor, shape: Sequence[int]) -> Tensor:
    """Weights of a convolution of three colours for more inputs, zero for those; others stay."""
    if weights.ndim != 4 or weights.shape[1] != 3 or len(shape) != 4 or shape[1] <= 3:
        return weights
    return F.pad(weights, [0, 0, 0, 0, 0, shape[1] - 3])
