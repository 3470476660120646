"""Start an expert from the weights of a trained one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
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


def head_rows(path: Path, tree: ClassTree, node: str) -> list[bool] | None:
    """Where a file holds the shared network or an expert of this node or above, by its name: which
    rows of that one's head are those of the node's own leaves; none of them, [], if the file
    belongs to a segmenter with other leaves, or in another order. None if it is not known.

    Raises UserError if that segmenter is damaged.
    """
    theirs = tree_of_segmenter(path.parent)
    source_tree = theirs or tree
    source = source_tree.root.name if path.stem == SHARED else path.stem
    if source not in source_tree.experts:
        return None
    own = [leaf.name for leaf in tree.leaves_of(node)]
    leaves = [leaf.name for leaf in source_tree.leaves_of(source)]
    if [name for name in leaves if name in own] == own:
        return [name in own for name in leaves]
    return [] if theirs else None


def tree_of_segmenter(folder: Path) -> ClassTree | None:
    """None if there is no segmenter in the folder. Raises UserError if it is damaged."""
    path = folder / "segmenter.json"
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text())["tree"]
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"init_from: {path} is damaged: {error!r}") from error
    if problems := tree_problems(tree):
        raise UserError(f"init_from: {path} is damaged: {problems[0]}")
    return ClassTree(tree)


def init_from(
    model: nn.Module, path: Path, section: str, rows: Sequence[bool] | None = None
) -> set[str]:
    """Fill the network `model` from a file; a head for other classes starts anew, and a decoder
    that ends at a coarser scale takes the coarser blocks.

    section: where the network's params stand. rows: see `head_rows`; without them it takes the head
    of its own name's file alone, since as many leaves need not be the same.
    Returns the names of the tensors that were taken over.
    Raises UserError if the network in the file is another one, or the file damaged.
    """
    try:
        stored, own = load_file(path), model.state_dict()
    except SafetensorError as error:
        raise UserError(f"init_from: {path} is damaged or no safetensors file: {error}") from error
    if rows is not None and len(rows) in (0, len(stored["head.weight"])):
        for name in ("head.weight", "head.bias"):
            head = stored[name][list(rows)]
            if len(own[name]) == len(head) + 1:  # that of no leaf
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
