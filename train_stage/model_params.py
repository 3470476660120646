"""What an expert's network is built from: the schema of `model` in `params.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from preprocessing_stage.params import Section


class ModelParams(Section):
    """What `train_stage.model.Expert` is built from; stored beside its weights."""

    encoder: str = Field(pattern=r"^[a-z0-9_]+$")
    """unet: the method's own. Any other: the name of a timm model, whose channels and scales then
    stand instead of these; the decoder is at least base_channels wide."""
    base_channels: int = Field(ge=4, le=256)
    """Channels at the finest scale; they double at each coarser one, up to max_channels."""
    max_channels: int = Field(ge=4, le=2048)
    depth: int = Field(ge=2, le=7)
    """Number of scales."""
    stem_stride: Literal[1, 2, 4]
    """Stride of the first convolution."""
    initial_pool: Literal[1, 2, 4]
    """Max-pooling after the first convolution, 1 = none."""
    norm: Literal["layer", "batch", "batch_each"]
    """At each block's output. layer: over the channels of each pixel. batch: of each channel over
    space and batch. batch_each: that after both of a block's convolutions."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share of the encoder's channels that are dropped in training."""
    finest_scale: Annotated[int, Field(ge=0, le=4)]
    """Scale at which the decoder ends, 0 = the encoder's finest; its logits are scaled up."""
    parent_channels: StrictBool
    """Below the root: what the experts above predict of the expert's leaves is input as well
    (auto-context: Tu 2008, "Auto-context and its application to high-level vision tasks")."""
    rejects: StrictBool
    """Below the root: one more output, for pixels of the region that are none of its leaves."""
    targets: Literal["leaves", "children"]
    """What it learns to tell apart. children: the leaves of each have equal shares of it."""

    @model_validator(mode="after")
    def _timm_has_its_own_scales(self) -> ModelParams:
        own = (self.depth, self.stem_stride, self.initial_pool)
        if self.encoder != "unet" and own != (5, 2, 1):
            raise ValueError(
                f"encoder {self.encoder} has 5 scales from stride 2 on; set depth 5, "
                f"stem_stride 2, initial_pool 1 instead of {own}"
            )
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> ModelParams:
        base, largest = self.base_channels, self.max_channels
        if base > largest:
            raise ValueError(f"base_channels {base} is more than max_channels {largest}")
        if self.finest_scale > self.depth - 2:
            raise ValueError(
                f"finest_scale {self.finest_scale} leaves no block to a decoder of depth "
                f"{self.depth}, at most {self.depth - 2}"
            )
        return self

    def differences(self, other: ModelParams) -> list[tuple[str, Any, Any]]:
        """Key, the other's value and the own one, where the other's weights do not fit. A decoder
        that ends at a coarser scale takes the other's coarser blocks."""
        alike = set(_MAY_DIFFER)
        if self.finest_scale > other.finest_scale:
            alike.add("finest_scale")
        return [
            (key, getattr(other, key), value)
            for key, value in self
            if key not in alike and getattr(other, key) != value
        ]

    @property
    def stride(self) -> int:
        """Input pixels per cell at the coarsest scale."""
        return self._stride_of(self.depth - 1)

    @property
    def output_stride(self) -> int:
        """Input pixels per logit."""
        return self._stride_of(self.finest_scale)

    def _stride_of(self, scale: int) -> int:
        return self.stem_stride * self.initial_pool * int(2**scale)


_MAY_DIFFER = ("dropout", "initial_pool", "parent_channels", "rejects", "targets")
"""Keys that may differ between a network and the one that it starts from."""
