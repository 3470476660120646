"""Schema of the sections `train`, `shared`, `experts` and `machine` of `params.yaml`.

`train` holds for every network; `shared` and `experts.<name>` override single keys of it for the
shared start and for one expert.
`machine` says where to run, so no stage depends on it. With more processes results differ
slightly, and `norm: batch` has the statistics of each one's share of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, StrictBool, model_validator

from preprocessing_stage.dataset.class_tree import ClassTree, tree_problems
from preprocessing_stage.params import ParamsError, Section, read_yaml, validate
from preprocessing_stage.paths import PARAMS_FILE

SHARED = "shared"
"""What `init_from` calls the network that `train_stage.train_shared` trains."""

Probability = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, Field(min_length=1)]
Jitter = Annotated[float, Field(ge=0, lt=1)]


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
        """Key, the other's value and the own one, where weights of one do not fit the other."""
        return [
            (key, getattr(other, key), value)
            for key, value in self
            if key not in _ALIKE_WITHOUT and getattr(other, key) != value
        ]

    @property
    def stride(self) -> int:
        """Input pixels per cell at the coarsest scale."""
        result: int = self.stem_stride * self.initial_pool * 2 ** (self.depth - 1)
        return result


_ALIKE_WITHOUT = ("dropout", "initial_pool", "parent_channels", "rejects")
"""Keys of a model in which networks may differ that start from one another."""


class LossParams(Section):
    dice_weight: float = Field(ge=0)
    """Weight of soft Dice beside cross-entropy."""
    class_weight_power: Probability
    """Exponent d in weight = frequency ** -d: 0 = all classes alike, 1 = inverse frequency."""


class AugmentationParams(Section):
    flip: Probability
    min_crop_scale: Annotated[float, Field(gt=0, le=1)]
    """Smallest side of a random crop as a share of the box."""
    max_crop_scale: Annotated[float, Field(ge=1, le=10)]
    """Largest side; above 1 the surroundings show."""
    aspect: Jitter
    """Largest relative change of the aspect ratio."""
    rotation: Annotated[float, Field(ge=0, le=180)]
    """Largest angle in degrees."""
    brightness: Jitter
    contrast: Jitter
    saturation: Jitter


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
    """Pixels of the sample by which predicted regions grow, here and in the chain."""
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
    expert's name. Networks have to be alike but for the number of classes."""
    loss: LossParams
    augmentation: AugmentationParams
    batch_size: PositiveInt
    epochs: PositiveInt
    """Passes over the samples that contain the region."""
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
    precision: Literal["auto", "32-true", "bf16-mixed"]
    """auto: bf16 where the device has units for it."""
    examples_every: PositiveInt
    """Epochs between two sheets of validation examples in TensorBoard."""

    @property
    def last_input_size(self) -> int:
        """Of the last phase, and of the chain."""
        return self.high_resolution.input_size if self.high_resolution else self.input_size

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
        return self


WITHOUT_PARENT = {"regions": "labelled", "model": {"parent_channels": False, "rejects": False}}
"""Of the shared network and the root, which look at the whole image."""


class MachineParams(Section):
    devices: int = Field(ge=1, le=1024)
    """Devices a process group trains on; GPUs if there are any, else processes on the CPU."""
    loader_workers: int = Field(ge=0, le=256)
    """Processes that prepare samples; 0 = the training process itself, best without a GPU."""


class OutOfFoldParams(Section):
    """Predictions of the training samples by networks that were not trained on them."""

    folds: Annotated[int, Field(ge=2, le=20)]
    map_size: Annotated[int, Field(ge=8, le=1024)]
    """Side in pixels of the square that a prediction is kept in."""
    training: ExpertParams
    """Of each fold's network; overrides `shared`."""


def section_of(name: str) -> str:
    """Where in the params a network's own keys stand: `shared`, or `experts.<name>`."""
    return name if name == SHARED else f"experts.{name}"


class TrainParams(Section):
    shared: ExpertParams
    """Of the network that all experts with `init_from: shared` start from."""
    out_of_fold: OutOfFoldParams
    experts: dict[str, ExpertParams]
    machine: MachineParams


def load_params(path: Path = PARAMS_FILE) -> TrainParams:
    """The params of the train stage, overrides merged. Raises ParamsError with all problems."""
    params, problems = train_problems(read_yaml(path))
    if params is None:
        raise ParamsError(path, problems)
    return params


def train_problems(sections: Mapping[str, Any]) -> tuple[TrainParams | None, list[str]]:
    """The params of this stage out of all sections, or None and all problems."""
    problems = [
        f"{key}: is missing"
        for key in ("train", "shared", "out_of_fold", "experts", "machine")
        if key not in sections
    ]
    problems += [
        f"{key}: needs keys and values, got {sections[key]!r}"
        for key in ("train", "shared", "out_of_fold", "experts")
        if not isinstance(sections.get(key, {}), Mapping)
    ]
    machine = None
    if "machine" in sections:
        machine, found = validate(MachineParams, sections["machine"], "machine")
        problems += found
    defaults, own = sections.get("train"), sections.get("experts")
    shared, out_of_fold = sections.get("shared"), sections.get("out_of_fold")
    if not (
        isinstance(defaults, Mapping)
        and isinstance(shared, Mapping)
        and isinstance(own, Mapping)
        and isinstance(out_of_fold, Mapping)
    ):
        return None, problems
    whole = {SHARED}
    if not tree_problems(sections.get("tree")):
        whole.add(section_of(ClassTree(sections["tree"]).root.name))
        wanted = ClassTree(sections["tree"]).experts
        if SHARED in wanted:
            problems.append(f"tree: {SHARED!r} is the shared pretraining; call the node otherwise")
        problems += [
            f"experts.{name}: is missing, the tree has it" for name in wanted if name not in own
        ]
        problems += [
            f"experts.{name}: no inner node of the tree has this name; they are {', '.join(wanted)}"
            for name in own
            if name not in wanted
        ]
    _, default_problems = validate(ExpertParams, defaults, "train")
    problems += default_problems
    inherited = {p.removeprefix("train") for p in default_problems}

    def merged(section: str, overrides: Mapping[str, Any]) -> ExpertParams | None:
        values = merge(defaults, WITHOUT_PARENT) if section in whole else defaults
        params, found = validate(ExpertParams, merge(values, overrides), section)
        problems.extend(p for p in found if p.removeprefix(section) not in inherited)
        return params

    start = merged(section_of(SHARED), shared)
    if start and start.init_from == SHARED:
        problems.append("shared.init_from: shared cannot start from itself, set it to null")
    of_folds = None
    if start:
        values = dict(out_of_fold)
        if isinstance(overrides := out_of_fold.get("training"), Mapping):
            values["training"] = merge(merge(merge(defaults, WITHOUT_PARENT), shared), overrides)
        of_folds, found = validate(OutOfFoldParams, values, "out_of_fold")
        problems += found
    experts = {}
    for name, overrides in own.items():
        overrides = {} if overrides is None else overrides
        if isinstance(overrides, Mapping):
            experts[name] = expert = merged(section_of(name), overrides)
            if start and expert and expert.init_from == SHARED:
                problems += [
                    f"{section_of(name)}.model.{key}: is {value}, in shared {wanted}; a network "
                    "that starts from shared has to be alike"
                    for key, value, wanted in start.model.differences(expert.model)
                ]
        else:
            problems.append(f"experts.{name}: needs keys and values, got {overrides!r}")
    if problems:
        return None, problems
    sections = {"shared": start, "out_of_fold": of_folds, "experts": experts, "machine": machine}
    return validate(TrainParams, sections)


def merge(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`defaults` with single keys, at any depth, replaced by `overrides`."""
    merged = dict(defaults)
    for key, value in overrides.items():
        below = defaults.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
