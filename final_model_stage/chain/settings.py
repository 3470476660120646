"""What a segmenter is put together from: the content of `segmenter.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictBool, model_validator
from pydantic_core import from_json

from final_model_stage.params import ChainParams, FinalParams, Share
from preprocessing_stage.dataset.class_tree import ClassTree, swap_problems, tree_problems
from preprocessing_stage.params import Section, validate
from preprocessing_stage.renamed_keys import with_new_names
from train_stage.expert_params import ExpertParams
from train_stage.model_params import ModelParams

MAX_BYTES = 2**20


OF_OLD_FILES = {
    "finest_scale": 0,
    "parent_channels": False,
    "rejects": False,
    "targets": "leaves",
}
"""Keys of a model that files of release 0.1, or made since before there was the key, have not."""

GraphFile = Annotated[str, Field(pattern=r"^\w+\.onnx\.gz$")]


class ExpertSettings(Section):
    """How an expert is fed, beside what it is made of."""

    input_size: Annotated[int, Field(ge=1, le=2048)]
    box_margin: Annotated[float, Field(ge=0, le=1)]
    max_box_aspect: Annotated[float, Field(ge=1, le=100)] = 2.0
    zoom: bool = True
    """Files of release 0.1 have neither this nor the next."""
    region_dilation: Annotated[int, Field(ge=0, le=100)] = 0
    """Pixels of the reduced image by which the predicted region grows."""
    model: ModelParams

    @model_validator(mode="before")
    @classmethod
    def _of_a_release_before(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("model"), dict):
            return values | {"model": OF_OLD_FILES | values["model"]}
        return values


class Settings(ChainParams):
    """What `segmenter.json` holds."""

    tree: dict[str, Any]
    swap: list[list[str]] = Field(default_factory=list)
    """Pairs of leaves that a flip exchanges. Files of release 0.1 have none."""
    average_ancestors: StrictBool = True
    closer_view_max_area: Share = 0.7
    grid_stride: Annotated[int, Field(ge=1, le=16)] = 1
    """Files of release 0.1 have none of these three."""
    longest_side: Annotated[int, Field(ge=1, le=2048)]
    """Pixels; larger images are scaled down to it first, as training samples were."""
    experts: dict[str, ExpertSettings]
    version: str = ""
    """Release of this project that wrote it."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """Of each expert's file of weights, as `chain.files.write_segmenter` adds them."""
    graphs: dict[GraphFile, str] = Field(default_factory=dict)
    """File of a graph for ONNX Runtime -> `digest` of the settings that it was recorded for."""

    @property
    def fast(self) -> Settings:
        """One view by each expert, without test-time augmentation."""
        return self.model_copy(update={"tta_views": False, "tta_flip": False})

    @property
    def digest(self) -> str:
        """Of all that the chain depends on but its weights. A key that a later release adds does
        not change it, as long as its value is what was the case before."""
        apart = {"version", "sha256", "graphs"}
        content = self.model_dump(mode="json", exclude=apart, exclude_defaults=True)
        for expert in content["experts"].values():
            new = expert["model"].items() - OF_OLD_FILES.items()
            expert["model"] = dict(sorted(new))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @cached_property
    def class_tree(self) -> ClassTree:
        return ClassTree(self.tree, self.swap)


def read_settings(path: Path) -> Settings:
    """`segmenter.json`, of whatever origin. Raises OSError, or ValueError with all problems."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is none; name the folder of a segmenter, such as pretrained/default"
        )
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: has more than {MAX_BYTES} bytes, is no segmenter.json")
    try:
        values = from_json(path.read_bytes(), allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(values, dict):
        values = with_new_names(values)
    settings, problems = validate(Settings, values)
    if settings is not None:
        problems = tree_problems(settings.tree)
        problems = problems or swap_problems(settings.tree, settings.swap)
        names = [] if problems else ClassTree(settings.tree).experts
        problems += [
            f"experts.{name}: is missing" for name in names if name not in settings.experts
        ]
        problems += [
            f"experts.{name}.input_size: {expert.input_size} is no multiple of the model's "
            f"stride {expert.model.stride}"
            for name, expert in settings.experts.items()
            if expert.input_size % expert.model.stride
        ]
    if settings is None or problems:
        raise ValueError("\n  ".join([f"{path}:", *problems]))
    return settings


def make_settings(
    tree: ClassTree, longest_side: int, final: FinalParams, experts: Mapping[str, ExpertParams]
) -> Settings:
    """The settings of a segmenter whose experts were trained with these params."""
    return Settings(
        tree=tree.to_dict(),
        swap=tree.swap,
        longest_side=longest_side,
        **final.model_dump(include=set(ChainParams.model_fields)),
        experts={
            name: ExpertSettings(
                input_size=experts[name].last_input_size,
                box_margin=experts[name].box_margin,
                max_box_aspect=experts[name].max_box_aspect,
                zoom=experts[name].zoom,
                region_dilation=(
                    experts[name].region_dilation if experts[name].regions == "predicted" else 0
                ),
                model=experts[name].model,
            )
            for name in tree.experts
        },
    )
