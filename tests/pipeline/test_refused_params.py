"""Params that are refused, each with its key, its value and what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from params_cases import NOT_PLAIN, PLAIN_KEYS, REFUSED, problems

TIMM = {"encoder": "resnet18", "depth": 5, "stem_stride": 2, "initial_pool": 1}
ONE_PIXEL = {"stem_stride": 4, "depth": 4}
"""Of an input of 32 pixels."""


def test_the_table_of_refused_values_knows_every_param():
    sections = {key.rpartition(".")[0] for key in PLAIN_KEYS}
    assert set(REFUSED) == set(PLAIN_KEYS) - sections


@pytest.mark.parametrize("key", REFUSED)
def test_values_out_of_range_are_refused_with_key_and_value(key, tiny_params):
    for value in [*REFUSED[key], [1]]:
        [problem] = problems(tiny_params(**{key: value}))
        assert problem.startswith(f"{key}: Input should") or problem.startswith(f"{key}: String")
        assert problem.endswith(f", got {value!r}")


@pytest.mark.parametrize("key", [*NOT_PLAIN, *PLAIN_KEYS])
def test_a_missing_param_is_refused(key, tiny_params):
    assert f"{key}: is missing" in problems(tiny_params(**{key: ...}))


def test_null_is_a_value_of_what_a_training_may_do_without(tiny_params):
    may_be_null = [key for key in REFUSED if not problems(tiny_params(**{key: None}))]
    assert may_be_null == ["train.encoder_weights", "train.init_from", "train.high_resolution"]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (
            "trian",
            "trian: is no section; they are tree, swap, data, render_people, train, shared",
        ),
        (
            "data.size",
            "data.size: is unknown; known here: "
            "description, folder, licence, longest_side, near_gray_chroma",
        ),
        ("train.lr", "train.lr: is unknown; known here: augmentation, batch_size, box_margin"),
        ("train.model.norms", "train.model.norms: is unknown; known here: base_channels, depth"),
        ("experts.body.lr", "experts.body.lr: is unknown; known here: augmentation"),
        ("experts.body.loss.dice", "experts.body.loss.dice: is unknown; known here: class_weight"),
        (
            "shared",
            "shared.high_resolution.input_sise: is unknown; "
            "known here: epochs, input_size, learning_rate",
        ),
        ("machine.gpus", "machine.gpus: is unknown; known here: devices, loader_workers"),
        (
            "final.mod",
            "final.mod: is unknown; known here: average_ancestors, bootstrap, closer_view_max_area",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones(key, problem, tiny_params):
    value: Any = 1
    if key == "shared":
        value = {
            "high_resolution": {
                "input_size": 64,
                "epochs": 1,
                "learning_rate": 0.1,
                "input_sise": 64,
            }
        }
    [found] = problems(tiny_params(**{key: value}))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"train.input_size": 38},
            "train: input_size 38 is no multiple of 4 = stem_stride x initial_pool",
        ),
        (
            {"experts.body.model": {"depth": 5, "initial_pool": 2}},
            "experts.body: input_size 32 is no multiple of 64",
        ),
        (
            {"train.high_resolution": {"input_size": 50, "epochs": 1, "learning_rate": 0.01}},
            "train: high_resolution.input_size 50 is no multiple of 4 = stem_stride x initial_pool",
        ),
        (
            {"train.high_resolution": {"input_size": 16, "epochs": 1, "learning_rate": 0.01}},
            "train: high_resolution.input_size 16 is less than input_size 32",
        ),
        (
            {"train.high_resolution": {"input_size": 64, "epochs": 0, "learning_rate": 0.01}},
            "train.high_resolution.epochs: Input should be greater than 0, got 0",
        ),
        (
            {"train.high_resolution": {"input_size": 5, "epochs": 1, "learning_rate": 0.01}},
            "train.high_resolution.input_size: Input should be greater than or equal to 16 "
            "(at least 16, at most 2048), got 5",
        ),
        (
            {
                "shared": {"init_from": None},
                "experts.body": {"init_from": "shared", "model": {"norm": "batch_each"}},
            },
            "experts.body.model.norm: is batch_each, in shared ",
        ),
        (
            {"experts.body.model": TIMM | {"encoder": "resnet81"}},
            "experts.body.model.encoder: timm has no resnet81; alike are resnet",
        ),
        (
            {"experts.body.model": TIMM | {"encoder": "convnext_atto"}},
            "experts.body.model.encoder: convnext_atto has features at strides [4, 8, 16, 32], ",
        ),
        (
            {
                "experts.body.regions": "predicted",
                "out_of_fold.training": {"model": TIMM | {"encoder": "resnet81"}},
            },
            "out_of_fold.training.model.encoder: timm has no resnet81; alike are resnet",
        ),
        (
            {"experts.body": {"model": TIMM, "encoder_weights": "no/such.pth"}},
            "experts.body.encoder_weights: there is no file no/such.pth",
        ),
        (
            {
                "experts.body": {
                    "model": TIMM | {"encoder": "resnet18"},
                    "encoder_weights": "package",
                }
            },
            "experts.body.encoder_weights: no package has weights of resnet18, only of tf_eff",
        ),
        (
            {"experts.body.encoder_weights": "package"},
            "experts.body: encoder_weights 'package' needs a timm encoder",
        ),
        (
            {"experts.body": {"model": TIMM, "encoder_weights": "hub", "init_from": "models"}},
            "experts.body: init_from 'models' would overwrite encoder_weights 'hub'",
        ),
        (
            {"experts.body.model.encoder": "resnet18"},
            "experts.body.model: encoder resnet18 has 5 scales from stride 2 on; set depth 5",
        ),
        (
            {"experts.body": {"batch_size": 1, "model": ONE_PIXEL | {"norm": "batch"}}},
            "experts.body.input_size: 32 is one pixel at the coarsest scale",
        ),
        (
            {"experts.body": {"batch_size": 1, "model": TIMM | {"norm": "layer"}}},
            "experts.body.input_size: 32 is one pixel at the coarsest scale",
        ),
        (
            {"machine.devices": 4, "experts.body.model": ONE_PIXEL | {"norm": "batch_each"}},
            "experts.body.input_size: 32 is one pixel at the coarsest scale",
        ),
        (
            {
                "experts.body.regions": "predicted",
                "out_of_fold.training": {
                    "batch_size": 1,
                    "model": ONE_PIXEL | {"norm": "batch"},
                },
            },
            "out_of_fold.training.input_size: 32 is one pixel at the coarsest scale",
        ),
        (
            {"train.model.targets": "children", "final.average_ancestors": True},
            "final.average_ancestors: is true; set it to false, or set model.targets of person, ",
        ),
        (
            {
                "train.regions": "predicted",
                "experts.person.model.targets": "children",
                "experts.body.model.parent_channels": True,
                "final.average_ancestors": False,
            },
            "experts.body.model.parent_channels: is true; set it to false, or set model.targets ",
        ),
        (
            {
                "shared": {"init_from": None},
                "experts.body": {"init_from": "shared", "model": {"targets": "children"}},
                "final.average_ancestors": False,
            },
            "experts.body.init_from: shared names leaves; set it to null, or set model.targets ",
        ),
        (
            {"machine.devices": 4, "experts.body.batch_size": 6},
            "experts.body.batch_size: 6 is no multiple of the 4 of machine.devices",
        ),
        (
            {"out_of_fold.training": {"init_from": "shared"}, "shared": {"init_from": None}},
            "out_of_fold.training.init_from: is shared, which has seen the samples",
        ),
        (
            {"experts.person": {"regions": "predicted"}},
            "experts.person.regions: is predicted, but it looks at the whole image",
        ),
        (
            {"data.folder": '/photos/$(id) "x"'},
            'data.folder: /photos/$(id) "x" has " $, which a shell takes for more than a letter; ',
        ),
        (
            {"train.model.base_channels": 24},
            "train.model: base_channels 24 is more than max_channels 16",
        ),
    ],
)
def test_params_that_contradict_each_other_are_refused_once(changes, problem, tiny_params):
    [found] = problems(tiny_params(**changes))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1, "model": ONE_PIXEL},
        {"batch_size": 2, "model": ONE_PIXEL | {"norm": "batch"}},
        {"batch_size": 1, "model": ONE_PIXEL | {"norm": "batch", "depth": 3}},
    ],
    ids=["layer norm", "two samples", "four pixels"],
)
def test_batch_norm_takes_two_values_of_a_channel(changes, tiny_params):
    assert problems(tiny_params(**{"experts.body": changes})) == []


def test_a_timm_encoder_with_its_scales_and_weights_is_valid(tiny_params):
    change = {"model": TIMM, "encoder_weights": "hub"}
    assert problems(tiny_params(**{"experts.person": change})) == []


def test_experts_are_the_inner_nodes_of_the_tree(tiny_params, deep_tree):
    sections = tiny_params(tree=deep_tree.to_dict(), **{"data.folder": "animals"})
    del sections["experts"]["rear"]
    sections["experts"] |= {"tail": {}, "body": None}
    assert problems(sections) == [
        "experts.rear: is missing, the tree has it",
        *(
            f"experts.{name}: no inner node of the tree has this name; "
            "they are scene, animal, front, fore_leg, rear"
            for name in ("tail", "body")
        ),
    ]


def test_all_problems_of_all_sections_come_at_once_with_key_and_value(tiny_params):
    sections = tiny_params(
        **{
            "tree.person.body.upper_body.head": 255,
            "data.longest_side": 7,
            "render_people.val": ...,
            "train.epochs": 0,
            "train.model.widht": 3,
            "experts.body.batch_size": -4,
            "experts.lower_body": [1],
            "machine": "laptop",
            "final": ...,
            "plots": {},
        }
    )
    starts = [
        "plots: is no section",
        "tree.person.body.upper_body.head: 255 is no leaf id",
        "data.longest_side: Input should be greater than or equal to 32 (at least 32, at most",
        "render_people.val: is missing",
        "machine: Input should be a valid dictionary or instance of MachineParams, got 'laptop'",
        "train.model.widht: is unknown",
        "train.epochs: Input should be greater than 0, got 0",
        "experts.body.batch_size: Input should be greater than 0, got -4",
        "experts.lower_body: needs keys and values, got [1]",
        "final: is missing",
    ]
    found = problems(sections)
    assert len(found) == len(starts)
    for problem, start in zip(found, starts, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize("value", [None, [], 3, "all"])
@pytest.mark.parametrize("key", ["train", "experts"])
def test_sections_without_keys_do_not_hide_problems_of_others(key, value, tiny_params):
    assert problems(tiny_params(**{key: value, "machine.devices": 0})) == [
        f"{key}: needs keys and values, got {value!r}",
        "machine.devices: Input should be greater than or equal to 1 (at least 1, at most 1024), "
        "got 0",
    ]
