"""The expert: a UNet that splits one region of an image into its children.

Layer or batch norm at the output of every block, dropout in the encoder, an optional max-pool at
the start, since below the root most of the input is zero.
"""

from __future__ import annotations

from itertools import pairwise
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preprocessing_stage.dataset.user_error import UserError
from train_stage.colour_statistics import MEAN, STD
from train_stage.model_params import ModelParams

TIMM_STRIDES = [2, 4, 8, 16, 32]
"""Of the features that a timm model must have."""


class Expert(nn.Module):
    """Image and region in, logits of the region's leaves out; a child is the sum of its leaves.

    So the expert learns its split from the parts: a leg teaches the root what a body is. With
    `targets: children` it learns the children alone, and gives the leaves of each equal shares.

    Normalises, then zeroes whatever lies outside the region: a pixel that the expert must not
    see is the mean colour. Training, chain and export all zero here and nowhere else.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: ModelParams, children: np.ndarray) -> None:
        """children: (children, leaves) bool, see `ClassTree.leaves_of_children`."""
        super().__init__()
        outputs, leaves = children.shape
        self.out_channels = leaves + params.rejects
        self.parent_channels = leaves * params.parent_channels
        kind = Encoder if params.encoder == "unet" else TimmEncoder
        encoder: Encoder | TimmEncoder = kind(params, 3 + self.parent_channels)
        self.encoder, self.finest_scale = encoder, params.finest_scale
        self.decoder = Decoder(encoder.channels[params.finest_scale :], params)
        self.shares = Shares(children, params.rejects) if params.targets == "children" else None
        outputs = outputs if self.shares else leaves
        self.head = nn.Conv2d(self.decoder.channels[0], outputs + params.rejects, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, region: Tensor, parent: Tensor | None = None) -> Tensor:
        """Logits (B, leaves, s, s) float32, after them that of no leaf if the model `rejects`.

        They have the resolution at which the decoder ends: s = S / the params' output_stride.
        image: (B, 3, S, S) float in 0..1; S divisible by the model's stride.
        region: (B, 1, S, S), 1 inside, 0 outside.
        parent: (B, leaves, S, S), the parent's probabilities, for a model with `parent_channels`.
        Raises ValueError where they are missing, or there are none to take.
        """
        if (parent is not None) != bool(self.parent_channels):
            raise ValueError(f"the model takes {self.parent_channels} channels of its parent")
        x = (image - self.mean) / self.std
        if parent is not None:
            x = torch.cat([x, parent], 1)
        x = (x * region).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.decoder(self.encoder(x)[self.finest_scale :])).float()
        return self.shares(logits) if self.shares else logits

    def stochastic_encoder(self) -> None:
        """Put the encoder into evaluation mode but for its dropout.

        Each pass is then another member of the ensemble that dropout trains (Gal and Ghahramani
        2016, "Dropout as a Bayesian Approximation", section 3).
        """
        self.encoder.eval()
        self.encoder.dropout.train()


class Shares(nn.Module):
    """Logits of leaves from those of children, after them that of no leaf if there is one: each
    leaf has an equal share of its child's probability."""

    child: Tensor
    log_leaves: Tensor

    def __init__(self, children: np.ndarray, rejects: bool) -> None:
        super().__init__()
        if rejects:
            children = np.pad(children, (0, 1))
            children[-1, -1] = True
        child = children.argmax(0)
        log_leaves = torch.tensor(children.sum(1)[child]).float().log()
        self.register_buffer("child", torch.tensor(child), persistent=False)
        self.register_buffer("log_leaves", log_leaves.view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, children, S, S) -> (B, leaves, S, S)."""
        return x.index_select(1, self.child) - self.log_leaves


class Encoder(nn.Module):
    """Features at `depth` scales, finest first; each scale halves the one before."""

    def __init__(self, params: ModelParams, inputs: int) -> None:
        super().__init__()
        self.channels = [
            min(params.base_channels * 2**scale, params.max_channels)
            for scale in range(params.depth)
        ]
        stride = params.stem_stride
        # Windows of twice the stride overlap, so that no edge falls between two of them.
        kernel, padding = (3, 1) if stride == 1 else (2 * stride, stride // 2)
        self.stem = nn.Conv2d(inputs, self.channels[0], kernel, stride, padding)
        self.initial_pool = nn.MaxPool2d(params.initial_pool)
        before = [self.channels[0], *self.channels]
        self.blocks = nn.ModuleList(
            Block(before[scale], self.channels[scale], params.norm) for scale in range(params.depth)
        )
        self.dropout = nn.Dropout2d(params.dropout)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, S, S) -> per scale (B, channels[scale], S / stride, S / stride)."""
        x = self.initial_pool(self.stem(x))
        features = []
        for scale, block in enumerate(self.blocks):
            if scale:
                x = F.max_pool2d(x, 2)
            x = self.dropout(block(x))
            features.append(x)
        return features


class TimmEncoder(nn.Module):
    """Features of a timm model, strides 2 to 32, in place of the method's own encoder."""

    net: Any

    def __init__(self, params: ModelParams, inputs: int) -> None:
        """Raises UserError if the model has features at other strides."""
        super().__init__()
        import timm  # takes as long as torch itself, and other encoders do without

        self.net = timm.create_model(params.encoder, features_only=True, in_chans=inputs)
        if (strides := self.net.feature_info.reduction()) != TIMM_STRIDES:
            raise UserError(
                f"model.encoder: {params.encoder} has features at strides {strides}, needed are "
                f"{TIMM_STRIDES}; take another one"
            )
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.forward = MethodType(depthwise_forward, module)  # type: ignore[method-assign]
        self.channels: list[int] = self.net.feature_info.channels()
        # A pretrained network's outputs are up to ten times as large as what a new decoder is made
        # for.
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in self.channels)
        self.dropout = nn.Dropout2d(params.dropout)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, S, S) -> per scale (B, channels[scale], S / stride, S / stride)."""
        scales = zip(self.norms, self.net(x), strict=True)
        return [self.dropout(norm(features)) for norm, features in scales]


def depthwise_forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    """What `self` does, in fp32 while training on a CPU: the backward pass of a depthwise
    convolution is 4 to 16 times as slow in bf16 there (torch 2.14.1)."""
    if not torch.is_grad_enabled() or x.device.type != "cpu":
        return type(self).forward(self, x)
    with torch.autocast("cpu", enabled=False):
        return type(self).forward(self, x.float()).to(x.dtype)


class Decoder(nn.Module):
    """Back to the finest scale: upsample, concatenate the encoder's features, one block."""

    def __init__(self, encoder: list[int], params: ModelParams) -> None:
        """encoder: channels of the features, finest scale first."""
        super().__init__()
        self.channels = [max(fine, params.base_channels) for fine in encoder[:-1]]
        pairs = zip(pairwise([*self.channels, encoder[-1]]), encoder, strict=False)
        self.narrow, self.blocks = nn.ModuleList(), nn.ModuleList()
        for (fine, coarse), skipped in pairs:
            self.narrow.append(nn.Conv2d(coarse, fine, 1))
            self.blocks.append(Block(fine + skipped, fine, params.norm))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features of all scales -> (B, channels[0], h, w) at the finest scale."""
        x = features[-1]
        for scale in reversed(range(len(self.blocks))):
            x = F.interpolate(self.narrow[scale](x), scale_factor=2, mode="nearest")
            x = self.blocks[scale](torch.cat([x, features[scale]], dim=1))
        return x


class Block(nn.Module):
    """Two 3 x 3 convolutions around a residual connection, normalised at the output."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.inner = nn.BatchNorm2d(outputs) if norm == "batch_each" else nn.Identity()
        self.norm = LayerNorm2d(outputs) if norm == "layer" else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        x, shortcut = F.relu(self.inner(self.first(x))), self.shortcut(x)
        return F.relu(self.norm(self.second(x) + shortcut))


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel of (B, C, h, w): zeroed surroundings of a
    region do not change its statistics."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, eps=self.eps)
        # Scale and shift apart from it: torch sums their gradients over all pixels in bf16 on
        # the CPU, which at 16 x 112 x 112 pixels left a tenth of the scale's (torch 2.14.1).
        x = x * self.weight.to(x.dtype) + self.bias.to(x.dtype)
        return x.permute(0, 3, 1, 2)
