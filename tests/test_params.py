"""The params: what is valid, what is refused and with which words, and how overrides merge."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from final_model_stage import check_params
from final_model_stage.check_params import check_all
from final_model_stage.params import final_problems
from final_model_stage.params import load_params as load_final
from preprocessing_stage.check_dataset import DatasetError
from preprocessing_stage.params import ParamsError, preprocessing_problems, read_yaml
from preprocessing_stage.params import load_params as load_preprocessing
from train_stage.params import load_params as load_train
from train_stage.params import merge, train_problems
from train_stage.train_expert import phases

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


# --- valid files -------------------------------------------------------------------------------


def test_params_yaml_is_valid():
    check_all(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def data(make_dataset, tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("params") / "data").path


@pytest.mark.parametrize(
    "profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_profile_is_valid_in_its_workspace(profile, data, tmp_path, monkeypatch):
    sections = read_yaml(profile)
    sections["data"]["folder"] = str(data)
    workspace, models = tmp_path / "runs" / profile.stem, tmp_path / "models"
    for folder in (workspace, models):
        folder.mkdir(parents=True)
    (models / "common.safetensors").touch()  # that of the default run
    monkeypatch.chdir(workspace)
    YAML().dump(sections, Path("params.yaml"))
    check_all(Path("params.yaml"))


def test_experts_to_start_from_that_are_missing_are_all_named(tiny_params, tmp_path):
    found = problems(tiny_params(**{"train.start_from": str(tmp_path)}))
    assert found == [
        f"{key}.start_from: there is no {tmp_path / key.split('.')[-1]}.safetensors"
        for key in ["common", *(f"experts.{name}" for name in tiny_params()["experts"])]
    ]


def test_the_common_start_is_made_by_the_pipeline_and_starts_from_something_else(tiny_params):
    changes = {"train.start_from": "common", "common": {"start_from": None}}
    assert problems(tiny_params(**changes)) == []
    assert problems(tiny_params(**{"train.start_from": "common"})) == [
        "common.start_from: common cannot start from itself, set it to null"
    ]


def test_a_tiny_file_and_one_of_another_tree_are_valid(tiny_params, deep_tree):
    assert problems(tiny_params()) == []
    assert problems(tiny_params(tree=deep_tree.to_dict())) == []


def test_each_stage_reads_its_sections(params_file, tmp_path, tree):
    path = params_file(tmp_path, **{"train.seed": 7, "final.passes": 3})
    assert load_preprocessing(path).class_tree.root == tree.root
    assert load_train(path).experts["body"].seed == 7
    assert load_final(path).passes == 3


def test_params_never_change(params_file, tmp_path):
    params = load_train(params_file(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        params.experts["body"].epochs = 2


# --- what is refused ---------------------------------------------------------------------------

TIMM = {"encoder": "resnet18", "depth": 5, "stem_stride": 2, "initial_pool": 1}

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
    "train.encoder_weights": [True, 3],
    "train.start_from": [True, 3],
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


def test_null_is_a_value_of_what_a_training_may_start_from_alone(tiny_params):
    may_be_null = [key for key in REFUSED if not problems(tiny_params(**{key: None}))]
    assert may_be_null == ["train.encoder_weights", "train.start_from"]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (
            "trian",
            "trian: is no section; they are tree, data, render_people, train, common, experts",
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
        ("machine.gpus", "machine.gpus: is unknown; known here: devices, loader_workers"),
        ("final.mod", "final.mod: is unknown; known here: bootstrap, examples, mirror, mode"),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones(key, problem, tiny_params):
    [found] = problems(tiny_params(**{key: 1}))
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
            {"experts.body.encoder_weights": "package"},
            "experts.body: encoder_weights 'package' needs a timm encoder",
        ),
        (
            {"experts.body": {"model": TIMM, "encoder_weights": "hub", "start_from": "models"}},
            "experts.body: start_from 'models' would overwrite encoder_weights 'hub'",
        ),
        (
            {"experts.body.model.encoder": "resnet18"},
            "experts.body.model: encoder resnet18 has 5 scales from stride 2 on; set depth 5",
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


def test_a_timm_encoder_with_its_scales_and_weights_is_valid(tiny_params):
    change = {"model": TIMM, "encoder_weights": "hub"}
    assert problems(tiny_params(**{"experts.person": change})) == []


def test_experts_are_the_inner_nodes_of_the_tree(tiny_params, deep_tree):
    sections = tiny_params(tree=deep_tree.to_dict())
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


def test_a_missing_section_does_not_hide_problems_of_others(tiny_params):
    assert problems(tiny_params(**{"machine": ..., "train.epochs": 0})) == [
        "machine: is missing",
        "train.epochs: Input should be greater than 0, got 0",
    ]


# --- overrides ---------------------------------------------------------------------------------


def test_overrides_merge_key_by_key_at_any_depth(params_file, tmp_path):
    changes = {"experts.body": {"epochs": 9, "model": {"dropout": 0.5}}, "experts.person": None}
    experts = load_train(params_file(tmp_path, **changes)).experts
    person, body = experts["person"], experts["body"]
    assert (person.epochs, person.model.dropout) == (1, 0.1)
    assert (body.epochs, body.model.dropout) == (9, 0.5)
    assert body.model_copy(update={"epochs": 1, "model": person.model}) == person
    assert body.model.model_copy(update={"dropout": 0.1}) == person.model


def test_merge_leaves_both_as_they_were():
    shared, overrides = {"a": {"b": 1, "c": {"d": 2}}}, {"a": {"c": {"d": 3}}, "e": 4}
    before = copy.deepcopy((shared, overrides))
    assert merge(shared, overrides) == {"a": {"b": 1, "c": {"d": 3}}, "e": 4}
    assert (shared, overrides) == before


def test_a_bad_shared_value_is_named_once_and_does_not_hide_a_bad_override(tiny_params):
    assert problems(tiny_params(**{"train.epochs": -1, "experts.body.epochs": -2})) == [
        "train.epochs: Input should be greater than 0, got -1",
        "experts.body.epochs: Input should be greater than 0, got -2",
    ]


@pytest.mark.parametrize("value", [0, False, "", [], "fast"])
def test_overrides_are_keys_and_values_or_null(value, tiny_params):
    assert problems(tiny_params(**{"experts.body": value})) == [
        f"experts.body: needs keys and values, got {value!r}"
    ]
    assert problems(tiny_params(**{"experts.body": None})) == []


def test_experts_named_by_numbers_are_refused_even_where_the_tree_is_broken(tiny_params):
    sections = tiny_params(tree={"person": {"background": 0, "body": 1}})
    sections |= {"tree": None, "experts": {1: {}}}
    tree, experts = problems(sections)
    assert tree.startswith("tree: needs exactly one root")
    assert experts.startswith("experts.1") and experts.endswith("got 1")


# --- YAML --------------------------------------------------------------------------------------


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", "'1e-3'"])
def test_numbers_are_read_as_dvc_reads_and_writes_them(number, params_file, tmp_path):
    path = params_file(tmp_path, **{"train.learning_rate": 77})
    rewrite(path, "learning_rate: 77\n", f"learning_rate: {number}\n")
    assert load_train(path).experts["person"].learning_rate == 0.001


def test_a_key_that_stands_twice_is_refused(params_file, tmp_path):
    path = params_file(tmp_path)
    rewrite(path, "  epochs: 1\n", "  epochs: 1\n  epochs: 13\n")
    with pytest.raises(ParamsError, match='duplicate key "epochs" with value "13"'):
        check_all(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "needs sections at its top level"),
        (b"- tree\n- data\n", "needs sections at its top level"),
        (b"tree: [1", "expected ',' or ']'"),
        (b"data: {folder: caf\xe9}", "can't decode byte"),
        (b"data: {folder: 2024-13-45}", "month must be in 1..12"),
        (b"data: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_what_is_no_params_file_is_refused(text, problem, tmp_path):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(ParamsError, match=r"params\.yaml: 1 problem") as error:
        check_all(tmp_path / "params.yaml")
    assert problem in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParamsError, match=r"No such file or directory: .*none\.yaml"):
        check_all(tmp_path / "none.yaml")


# --- whatever else may come --------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("auto")
)
values = scalars | st.lists(scalars, max_size=2)


@st.composite
def mutations(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A copy of params.yaml with one key taken out, put in or given another value; its path."""
    sections = copy.deepcopy(REPO_PARAMS)
    path: tuple[Any, ...] = draw(st.sampled_from(list(key_paths(sections))))
    section = sections
    for key in path[:-1]:
        section = section[key]
    kind = draw(st.sampled_from(["delete", "replace", "add"]))
    if kind == "add":
        new = st.text(max_size=9) | st.integers() | st.sampled_from(["epochs", "model", "train"])
        path = (*path[:-1], draw(new.filter(lambda key: key not in section)))
    if kind == "delete":
        del section[path[-1]]
    else:
        section[path[-1]] = draw(values)
    return sections, path


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(mutations())
def test_any_mutation_is_valid_or_refused_by_its_name(mutation):
    sections, path = mutation
    found = problems(sections)
    # A class that is gone, or one too many, is a problem of the node above it.
    names = path[-2:] if path[0] == "tree" else path[-1:]
    assert not found or any(str(name) in problem for problem in found for name in names)
    if not found:
        assert_plan(sections)


def assert_plan(sections: dict[str, Any]) -> None:
    """Every stage takes the sections, and every expert of the tree has epochs to train."""
    preprocessing, _ = preprocessing_problems(sections)
    train, _ = train_problems(sections)
    assert preprocessing and train and final_problems(sections)[0]
    assert set(train.experts) == set(preprocessing.class_tree.experts)
    for params in train.experts.values():
        assert phases(params)[0].epochs > 0
        assert params.input_size % params.model.stride == 0


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    key=st.sampled_from(
        [*REFUSED, *(f"experts.body.{k[6:]}" for k in REFUSED if k[:6] == "train.")]
    ),
    value=st.integers(-3, 3)
    | st.sampled_from([1e-9, 0.5, 1.5, 31, 1e9, -1e300, 1e300, 2**63, 10**30, 10**400])
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(), max_size=2),
)
def test_any_value_is_taken_or_refused_with_key_and_value(key, value, tiny_params):
    sections = tiny_params(**{key: value})
    found = problems(sections)
    if not found:
        assert_plan(sections)
        return
    section = key.rpartition(".")[0]
    for problem in found:
        if ": there is no " in problem:
            assert problem.startswith("experts.") and f"{value}" in problem
        elif problem.startswith(f"{key}: "):
            assert problem.endswith(f", got {value!r}")
        else:  # it does not fit another one, and both are named
            assert problem.startswith(section) and str(value) in problem


@pytest.mark.parametrize(
    ("key", "value", "end"),
    [
        ("data.longest_side", 31, "equal to 32 (at least 32, at most 2048), got 31"),
        ("data.longest_side", 4000, "equal to 2048 (at least 32, at most 2048), got 4000"),
        ("train.model.dropout", 1, "less than 1 (at least 0, less than 1), got 1"),
        ("train.model.depth", "deep", "as an integer (at least 2, at most 7), got 'deep'"),
        ("train.batch_size", 0, "should be greater than 0, got 0"),
        ("experts.body.augmentation.rotation", 181, "(at least 0, at most 180), got 181"),
        ("train.seed", 2**63, f"(at least 0, less than {2**63}), got {2**63}"),
        ("train.gray", "blue", "should be 'keep', 'drop' or 'match', got 'blue'"),
    ],
)
def test_a_refused_number_comes_with_its_whole_range(key, value, end, tiny_params):
    [problem] = problems(tiny_params(**{key: value}))
    assert problem.startswith(f"{key}: ")
    assert problem.endswith(end)


@pytest.mark.parametrize("depth", [200, 5000])
def test_a_tree_nested_without_end_is_refused(depth, tmp_path, tiny_params):
    tree: Any = 1
    for level in range(depth):
        tree = {f"n{level}": tree}
    text = "tree: " + "".join(f"{{n{i}: " for i in range(depth)) + "1" + "}" * depth
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError):
        check_all(tmp_path / "params.yaml")
    sections = tiny_params()
    sections["tree"] = tree
    assert problems(sections)


# --- the entry point ---------------------------------------------------------------------------


def run_main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["check_params", *arguments])
    check_params.main()


def test_main_names_the_file_that_is_valid(params_file, tmp_path, monkeypatch, capsys):
    path = params_file(tmp_path)
    run_main(monkeypatch, str(path))
    assert capsys.readouterr().out == f"{path}: params are valid\n"


def test_main_prints_every_problem_and_fails(params_file, tmp_path):
    path = params_file(tmp_path, **{"train.epochs": 0, "final.passes": "few"})
    command = [sys.executable, "-m", "final_model_stage.check_params", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{path}: 2 problems",
        "  train.epochs: Input should be greater than 0, got 0",
        "  final.passes: Input should be a valid integer, unable to parse string as an integer "
        "(at least 1, at most 1000), got 'few'",
    ]


def test_main_looks_at_the_lists_of_the_data_set(params_file, make_dataset, tmp_path, monkeypatch):
    folder = make_dataset(tmp_path / "data")
    path = params_file(tmp_path, **{"data.folder": str(folder.path)})
    run_main(monkeypatch, str(path))
    (folder.path / "JPEGImages" / "val_000.jpg").unlink()
    with pytest.raises(SystemExit, match="1 problem\n  JPEGImages/val_000: no file"):
        run_main(monkeypatch, str(path))


@pytest.mark.parametrize("folder", ["none", "x" * 300])
def test_main_fails_with_one_line_if_there_is_no_data_set(
    folder, params_file, tmp_path, monkeypatch
):
    path = params_file(tmp_path, **{"data.folder": folder})
    with pytest.raises(SystemExit, match=folder):
        run_main(monkeypatch, str(path))


def test_rendered_people_need_not_be_there_yet(params_file, tmp_path, monkeypatch):
    path = params_file(tmp_path, **{"data.folder": "data/rendered_people"})
    monkeypatch.chdir(tmp_path)
    check_all(path)
    with pytest.raises(DatasetError, match="no such folder; set data"):
        check_all(params_file(tmp_path, **{"data.folder": "data/people"}))
