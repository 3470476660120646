"""An expert's weights in a file that may come from a stranger.

safetensors hold numbers only: reading them runs no code. Before memory is taken for a network, its
shapes are compared with those that the file's header names, and its size with theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from preprocessing_stage.dataset.atomic_write import atomic_write
from train_stage.model import Expert
from train_stage.model_params import ModelParams

MAX_BYTES = 4 * 2**30
"""Of one expert's weights: a billion parameters."""
_HEADER = 100 * 2**20  # the most that the format allows


def write_expert(expert: Expert, path: Path, metadata: Mapping[str, str]) -> str:
    """Write the weights in half precision; returns the SHA-256 of the file.

    metadata: see train_stage.weights_file.

    Statistics of batch norms stay in fp32: variances may be larger than half precision can hold.
    Raises ValueError for a weight that half precision cannot hold.
    """
    weights = expert.state_dict()
    weights |= {name: weight.detach().half() for name, weight in expert.named_parameters()}
    weights = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    if large := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{path}: {large[0]} has a weight beyond 65504 or none; train anew")
    data = save(weights, dict(metadata))
    with atomic_write(path, "wb") as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def read_expert(path: Path, model: ModelParams, children: np.ndarray, digest: str | None) -> Expert:
    """The expert of `path`. Raises OSError, or ValueError if the file is damaged or does not fit.

    children: (children, leaves) bool, see `ClassTree.leaves_of_children`.
    digest: SHA-256 that the file must have; None = not known.
    """
    try:
        with torch.device("meta"):  # shapes without memory
            network = Expert(model, children)
    except Exception as error:  # timm raises anything for a name or size that it does not know
        raise ValueError(f"{path}: segmenter.json names no such network: {error}") from error
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    most = sum(8 * tensor.numel() for tensor in network.state_dict().values())
    if most > 2 * MAX_BYTES or path.stat().st_size > most + _HEADER:
        raise ValueError(f"{path}: does not fit segmenter.json: {path.stat().st_size} bytes")
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: is damaged or no safetensors file: {error}") from error
    if other := sorted(n for n in shapes.keys() | stored.keys() if shapes.get(n) != stored.get(n)):
        raise ValueError(
            f"{path}: does not fit segmenter.json: {len(other)} tensors differ, such as "
            f"{other[0]}, which is {stored.get(other[0])} instead of {shapes.get(other[0])}"
        )
    data = path.read_bytes()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(
            f"{path}: damaged since it was saved; get the folder again, or make it anew with "
            "`dvc repro -f -s build_segmenter`"
        )
    expert = Expert(model, children)
    expert.load_state_dict(load(data))
    return expert
