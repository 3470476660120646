"""All that determines the training of one expert: the schema of its section of `params.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StrictBool, model_validator

from preprocessing_stage.params import Section
from train_stage.model_params import ModelParams
from train_stage.precision import Precision

Probability = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, Field(min_length=1)]
Jitter = Annotated[float, Field(ge=0, lt=1)]


class LossParams(Section):
    dice_weight: float = Field(ge=0)
    """Weight of soft Dice beside cross-entropy."""
    class_weight_power: Probability
    """Exponent d in weight = frequency ** -d: 0 = all classes alike, 1 = inverse frequency."""


class AugmentationParams(Section):
    flip: Probability
    min_crop_scale: Annotated[float, Field(gt=0, le=1)]
    """The smallest random crop: square root of its share of the box's area."""
    max_crop_scale: Annotated[float, Field(ge=1, le=10)]
    """The largest, likewise; above 1 the surroundings show."""
    aspect: Jitter
    """Largest relative change of the aspect ratio."""
    rotation: Annotated[float, Field(ge=0, le=180)]
    """Largest angle in degrees."""
    brightness: Jitter
    contrast: Jitter
    saturation: Jitter
    copy_paste: Probability
    """Of networks that look at the whole image: share of samples with the foreground of another one
    pasted over them. Without a background in the tree there is none."""


class HighResolutionParams(Section):
    """A second phase of the whole network, at a larger input: most epochs stay cheap."""

    input_size: int = Field(ge=16, le=2048)
    epochs: PositiveInt
    learning_rate: float = Field(gt=0)
    """Peak of the one-cycle schedule; the encoder's is in proportion to the first phase's."""


class ExpertParams(Section):
    """All that determines the training of one expert."""

    seed: int = Field(ge=0, lt=2**63)
    input_size: int = Field(ge=16, le=2048)
    """Side in pixels of the square that the expert sees; see also `high_resolution`."""
    box_margin: Annotated[float, Field(ge=0, le=1)]
    """Margin around the region's box as a share of its longer side."""
    max_box_aspect: Annotated[float, Field(ge=1, le=100)]
    """A more oblong box is widened: squeezed limbs are hard to tell apart."""
    zoom: StrictBool
    """Below the root: whether it sees the region's box scaled to the input, or the whole image."""
    regions: Literal["labelled", "predicted"]
    """Below the root, what it is trained on. predicted: what a network that was not trained on the
    sample takes for the region, as the chain will."""
    region_dilation: Annotated[int, Field(ge=0, le=100)]
    """Pixels by which predicted regions grow: of the image, and in training of the longest sample,
    rounded up to what the predictions out of fold resolve."""
    parent_dropout: Probability
    """Share of training samples without `parent_channels`, so that the image is looked at too."""
    gray: Literal["keep", "drop", "match"]
    """Gray photographs: train on them, leave them out, or also turn as large a share gray."""
    model: ModelParams
    encoder_weights: Source | None
    """Start of a timm encoder: package (from a Python package), hub (timm downloads them), or a
    file with a state dict of the timm model; null starts at random."""
    init_from: Source | None
    """Trained network to start from: `shared`, a .safetensors file, or a folder with one of the
    expert's name. Networks have to be alike but for the number of classes; of the head of an
    expert above it takes the rows of its leaves, of others none."""
    loss: LossParams
    augmentation: AugmentationParams
    batch_size: PositiveInt
    epochs: PositiveInt
    """Passes over the samples that contain the region."""
    optimizer: Literal["muon", "adamw"]
    """muon: of kernels, see `train_stage.optimizer`; the rest has adamw."""
    learning_rate: float = Field(gt=0)
    """Peak of the one-cycle schedule."""
    encoder_learning_rate: float = Field(gt=0)
    """The same for the encoder."""
    warmup: Annotated[float, Field(gt=0, lt=1)]
    """Share of a phase's steps in which the learning rate rises."""
    high_resolution: HighResolutionParams | None
    """null: none."""
    decoder_epochs: int = Field(ge=0)
    """Last phase: the decoder alone, encoder frozen with its dropout on."""
    decoder_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    start_weight: Annotated[float, Field(ge=0, lt=1)]
    """Of the weights that a trained network began with, in the mean of these and its last ones
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3)."""
    precision: Precision
    """auto: bf16 where the device has units for it."""
    examples_every: PositiveInt
    """Epochs between two sheets of validation examples in TensorBoard."""

    @property
    def last_input_size(self) -> int:
        """Of the last phase, and of the chain."""
        return self.high_resolution.input_size if self.high_resolution else self.input_size

    def batch_norm_problem(self, batch_size: int) -> str | None:
        """Key, value and remedy if a process trains on so many samples at once that a batch norm
        has a single value of a channel, whose variance says nothing."""
        stride, norm = self.model.stride, self.model.norm
        # The batch norms of a timm encoder are there whatever `norm` says.
        has_batch_norm = norm != "layer" or self.model.encoder != "unet"
        if not has_batch_norm or batch_size * (self.input_size // stride) ** 2 > 1:
            return None
        return (
            f"input_size: {self.input_size} is one pixel at the coarsest scale, and a batch 1 "
            "sample in each process; batch norm needs more than one value of a channel, set "
            f"input_size to {2 * stride} or batch_size to 2 in each process"
        )

    @model_validator(mode="after")
    def _input_fits_model(self) -> ExpertParams:
        sizes = {"input_size": self.input_size, "high_resolution.input_size": self.last_input_size}
        for key, size in sizes.items():
            if size % self.model.stride:
                raise ValueError(
                    f"{key} {size} is no multiple of {self.model.stride} = "
                    "stem_stride x initial_pool x 2 ** (depth - 1)"
                )
        if self.last_input_size < self.input_size:
            raise ValueError(
                f"high_resolution.input_size {self.last_input_size} is less than input_size "
                f"{self.input_size}"
            )
        if self.regions == "labelled" and (self.model.parent_channels or self.model.rejects):
            raise ValueError(
                "regions labelled: model.parent_channels and model.rejects need predicted ones"
            )
        if self.encoder_weights is not None and self.model.encoder == "unet":
            raise ValueError(
                f"encoder_weights {self.encoder_weights!r} needs a timm encoder, set it to null "
                "for unet"
            )
        if self.encoder_weights is not None and self.init_from is not None:
            raise ValueError(
                f"init_from {self.init_from!r} would overwrite encoder_weights "
                f"{self.encoder_weights!r}, set one of them to null"
            )
        if self.start_weight and self.init_from is None:
            raise ValueError(
                f"start_weight {self.start_weight:g}: random weights are not worth keeping, set it "
                "to 0 or init_from to a trained network"
            )
        return self
