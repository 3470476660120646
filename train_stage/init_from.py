"""Start an expert from the weights of a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from train_stage.params import COMMON, section_of

COMMON_FILE = Path("models/common.safetensors")


def start_file(source: str, expert: str) -> Path:
    """`source` itself, in a folder the file named for the expert, or for `common` its file.

    Raises FileNotFoundError if there is none.
    """
    path = COMMON_FILE if source == COMMON else Path(source)
    path = path / f"{expert}.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{section_of(expert)}.start_from: there is no {path}")
    return path


def start_from(model: nn.Module, path: Path, rows: Sequence[int] | None = None) -> None:
    """Fill the expert `model` from a file; a head for other classes starts anew.

    rows: of the common network's head, those for the leaves that the expert names.
    Raises SystemExit if the network in the file is another one, or the file damaged.
    """
    try:
        stored, own = load_file(path), model.state_dict()
    except SafetensorError as error:
        raise SystemExit(
            f"start_from: {path} is damaged or no safetensors file: {error}"
        ) from error
    if rows is not None:
        stored |= {name: stored[name][list(rows)] for name in ("head.weight", "head.bias")}
    kept = {name for name in own if name in stored and stored[name].shape == own[name].shape}
    odd = sorted((own.keys() | stored.keys()) - kept)
    if other := [name for name in odd if not name.startswith("head.")]:
        raise SystemExit(
            f"start_from: {path} holds another network, {len(other)} tensors differ, such as "
            f"{other[0]}; give both the same `model`"
        )
    model.load_state_dict({name: stored[name] for name in kept}, strict=False)
