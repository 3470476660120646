"""Experts made ready to predict: less to compute, the same predictions up to rounding."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from train_stage.model import Expert, TimmEncoder

SIDE = 64
"""Pixels of the image on which a folded encoder is compared with the one it was made from."""


def for_prediction(expert: Expert, bf16: bool) -> Expert:
    """`expert` in evaluation mode, or a copy that predicts the same in less time.

    Batch norms of a timm encoder that follow a convolution become part of it. bf16: convolutions
    hold their weights in bf16, which autocast would turn them into at each call.
    """
    expert.eval()
    if bf16 or isinstance(expert.encoder, TimmEncoder):
        expert = copy.deepcopy(expert)
    if isinstance(expert.encoder, TimmEncoder):
        expert.encoder.net = folded(expert.encoder.net, 3 + expert.parent_channels)
    if bf16:
        for module in expert.modules():
            if isinstance(module, nn.Conv2d):
                module.to(torch.bfloat16)
    return expert


@torch.no_grad()
def folded(net: nn.Module, channels: int) -> nn.Module:
    """A copy of `net`, of so many input channels, without the batch norms that come right after a
    convolution.

    Which do is not known but guessed from the order of a module's parts, so the features of both
    are compared; `net` itself comes back if they differ.
    """
    quick = copy.deepcopy(net)
    for module in list(quick.modules()):
        for (_, before), (name, norm) in pairwise(list(module.named_children())):
            if not (isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if norm.track_running_stats:
                _fold(before, norm)
                # timm's batch norms hold the activation that follows them.
                setattr(module, name, getattr(norm, "act", nn.Identity()))
    image = torch.rand(1, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    image = image.to(next(net.parameters()).device)
    alike = all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))
        for one, other in zip(net(image), quick(image), strict=True)
    )
    return quick if alike else net


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give the convolution the scale and shift of the norm (Jacob et al. 2018, section 3.2)."""
    assert norm.running_mean is not None and norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
