"""What an expert was trained with is what the chain feeds it with."""

from __future__ import annotations

from typing import Any

import pytest
from train_fixtures import TREE, expert_params

from final_model_stage.chain.settings import ExpertSettings, make_settings
from final_model_stage.params import ChainParams, FinalParams
from preprocessing_stage.dataset.class_tree import ClassTree

CHAIN = {
    "mode": "hard",
    "average_ancestors": False,
    "tta_views": False,
    "closer_view_max_area": 0.3,
    "grid_stride": 3,
    "tta_flip": True,
    "mc_dropout_samples": 5,
    "seed": 9,
}
FINAL = FinalParams(**CHAIN, precision="32-true", bootstrap=100, examples=1)
FED = {
    "input_size": 48,
    "box_margin": 0.35,
    "max_box_aspect": 3.5,
    "zoom": False,
    "region_dilation": 5,
}


def settings_of_body(**changes: Any) -> ExpertSettings:
    """`body` has params of its own, the root others."""
    own = expert_params("body", **(FED | changes))
    experts = {"person": expert_params(box_margin=0.2), "body": own}
    made = make_settings(TREE, 77, FINAL, experts)
    assert made.experts["person"].box_margin == 0.2
    assert made.experts["body"].model == own.model
    return made.experts["body"]


def test_an_expert_of_predicted_regions_keeps_all_its_params() -> None:
    model = {"parent_channels": True, "rejects": True, "norm": "batch", "dropout": 0.3}
    found = settings_of_body(regions="predicted", model=model)
    assert found.model_dump(exclude={"model"}) == FED
    assert found.model.model_dump().items() >= model.items()


def test_regions_of_an_expert_of_labelled_ones_do_not_grow() -> None:
    found = settings_of_body(regions="labelled")
    assert found.model_dump(exclude={"model"}) == FED | {"region_dilation": 0}


def test_an_expert_is_fed_as_in_its_last_phase() -> None:
    larger = {"input_size": 64, "epochs": 1, "learning_rate": 0.01}
    assert settings_of_body(high_resolution=larger).input_size == 64


@pytest.mark.parametrize("swap", [[], [["upper", "lower"]]])
def test_tree_size_and_how_the_chain_predicts_are_kept(swap: list[list[str]]) -> None:
    tree = ClassTree(TREE.to_dict(), swap)
    made = make_settings(tree, 77, FINAL, dict.fromkeys(TREE.experts, expert_params()))
    assert made.tree == TREE.to_dict()
    assert made.swap == swap
    assert made.longest_side == 77
    assert made.model_dump(include=set(ChainParams.model_fields)) == CHAIN
