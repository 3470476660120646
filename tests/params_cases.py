"""Params files that are wrong in one place, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from final_model_stage import check_params
from final_model_stage.check_params import check_all
from preprocessing_stage.params import ParamsError, read_yaml

ROOT = Path(__file__).parent.parent
REPO_PARAMS = read_yaml(ROOT / "params.yaml")


def problems(sections: dict[str, Any]) -> list[str]:
    """What check_all says of a params file that holds `sections`, whatever its data set."""
    with (
        patch.object(check_params, "read_yaml", return_value=sections),
        patch.object(check_params, "listing_problems", return_value=[]),
    ):
        try:
            check_all()
        except ParamsError as error:
            return error.problems
    return []


def key_paths(section: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Every key of `section` at any depth, with the keys above it."""
    for key, value in section.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from key_paths(value, *above, key)


# Every param that is no override: values just outside of what it may be, or of another kind.
REFUSED = {
    "data.folder": ["", 7],
    "data.longest_side": [31, 2049, 100.5],
    "data.near_gray_chroma": [0, 256],
    "data.description": ["", 7],
    "data.licence": [""],
    "render_people.seed": [-1, 0.5],
    "render_people.train": [1],
    "render_people.val": [0],
    "render_people.size": [31, 1025],
    "train.seed": [-1],
    "train.input_size": [15, 2049],
    "train.box_margin": [-0.1, 1.1],
    "train.gray": ["some", True],
    "train.encoder_weights": [True, 3, ""],
    "train.start_from": [True, 3, ""],
    "train.model.encoder": ["", "U-Net"],
    "train.model.base_channels": [3, 257],
    "train.model.max_channels": [3, 2049],
    "train.model.depth": [1, 8],
    "train.model.stem_stride": [0, 3, "2", True],
    "train.model.initial_pool": [0, 3],
    "train.model.norm": ["group"],
    "train.model.dropout": [-0.1, 1.0],
    "train.loss.dice_weight": [-0.1, float("inf"), float("nan")],
    "train.loss.class_weight_damping": [-0.1, 1.1],
    "train.augmentation.flip": [-0.1, 1.1, True],
    "train.augmentation.smallest_crop": [0, 1.1],
    "train.augmentation.aspect": [-0.1, 1.0],
    "train.augmentation.rotation": [-1, 181],
    "train.augmentation.brightness": [-0.1, 1.0],
    "train.augmentation.contrast": [-0.1, 1.0],
    "train.augmentation.saturation": [-0.1, 1.0],
    "train.batch_size": [0, 2.5],
    "train.epochs": [0, "many"],
    "train.learning_rate": [0, "fast"],
    "train.larger": [3, "double"],
    "train.decoder_epochs": [-1, False],
    "train.encoder_learning_rate": [0],
    "train.decoder_learning_rate": [0],
    "train.weight_decay": [-0.1],
    "train.gradient_clip": [0],
    "train.ema_decay": [-0.1, 1.0],
    "train.precision": ["16-mixed", 32],
    "train.examples_every": [0],
    "machine.devices": [0, "auto", True],
    "machine.loader_workers": [-1],
    "final.mode": ["soft"],
    "final.second_look": ["yes", 1],
    "final.mirror": ["yes", 1],
    "final.passes": [0],
    "final.precision": ["bf16"],
    "final.seed": [-1],
    "final.bootstrap": [99],
    "final.examples": [0],
}
NOT_PLAIN = ("tree", "common", "experts")
PLAIN_KEYS = [
    ".".join(path)
    for path in key_paths({k: v for k, v in REPO_PARAMS.items() if k not in NOT_PLAIN})
]
