"""Schema of the section `final` of `params.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from preprocessing_stage.params import ParamsError, Section, read_yaml, validate
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.precision import Precision

Share = Annotated[float, Field(gt=0, le=1)]


class ChainParams(Section):
    """How the chain predicts; stored in `segmenter.json`."""

    mode: Literal["hard", "product"]
    """hard: each expert's decision binds the experts below it. product: the most probable
    leaf, whose probability is the product of those on its path."""
    average_ancestors: StrictBool
    """Whether an expert's probabilities are averaged with those of the experts above it, in which
    every view of the root counts as much as an expert."""
    tta_views: StrictBool
    """Test-time augmentation: the root expert also sees squares at both ends of the longer side,
    and the box around the foreground that it found; predictions are averaged."""
    closer_view_max_area: Share
    """A box around the foreground that covers a larger share of the image gets no view."""
    grid_stride: int = Field(ge=1, le=16)
    """Probabilities and regions are kept for every so many pixels of the image, once it is scaled
    down to `data.longest_side`."""
    tta_flip: StrictBool
    """Test-time augmentation: each view is also predicted flipped, and averaged."""
    mc_dropout_samples: int = Field(ge=1, le=1000)
    """Predictions with the encoder's dropout on, averaged; 1 = one prediction without dropout."""
    seed: int = Field(ge=0, lt=2**63)
    """For MC dropout, the bootstrap and the choice of examples."""


class FinalParams(ChainParams):
    precision: Precision
    """As in `train`."""
    bootstrap: int = Field(ge=100, le=100_000)
    """Resamplings of the images for the 95 % intervals."""
    examples: int = Field(ge=1, le=100)
    """Images on the sheet of examples."""


def load_final_params(path: Path = PARAMS_FILE) -> FinalParams:
    """The params of the final stage. Raises ParamsError with all problems."""
    params, problems = final_problems(read_yaml(path))
    if params is None:
        raise ParamsError(path, problems)
    return params


def final_problems(sections: Mapping[str, Any]) -> tuple[FinalParams | None, list[str]]:
    """The params of this stage out of all sections, or None and all problems."""
    if "final" not in sections:
        return None, ["final: is missing"]
    return validate(FinalParams, sections["final"], "final")
