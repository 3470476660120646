"""The params: what is valid, how overrides merge, how the file is read and checked."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from params_cases import ROOT, problems
from pydantic import ValidationError
from ruamel.yaml import YAML
from safetensors.torch import save_file

from final_model_stage.params import load_final_params
from final_model_stage.pipeline import check_params
from final_model_stage.pipeline.check_params import check_all
from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.class_tree import ClassTree, unlisted_sides
from preprocessing_stage.params import ParamsError, load_preprocessing_params, read_yaml
from train_stage import encoder_weights
from train_stage.expert_params import ExpertParams
from train_stage.model import Expert
from train_stage.params import load_train_params, merge

# --- valid files -------------------------------------------------------------------------------


def save(path: Path, params: ExpertParams, children: np.ndarray) -> None:
    """Random weights of a network."""
    weights = Expert(params.model, children).state_dict()
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(weights, path.with_suffix(".safetensors"))


def test_params_yaml_is_valid():
    check_all(ROOT / "params.yaml")


@pytest.mark.parametrize(
    "profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_profile_is_valid_in_its_workspace(profile, make_dataset, tmp_path, monkeypatch):
    data = tmp_path / "data"
    sections = merge_profile(read_yaml(ROOT / "params.yaml"), read_yaml(profile), data)
    tree = ClassTree(sections["tree"], sections["swap"])
    monkeypatch.setattr(encoder_weights, "find_spec", bool)  # all packages are installed
    assert unlisted_sides(tree) == []
    make_dataset(data, tree=tree)
    workspace, models = tmp_path / "runs" / profile.stem, tmp_path / "models"
    before = tmp_path / "runs/pascal_part_pretrained/models/experts"
    for folder in (workspace, models, before):
        folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(workspace)
    YAML().dump(sections, Path("params.yaml"))
    params, flat = load_train_params(Path("params.yaml")), tree.flat()
    # What other profiles start from: the default run, and one of them.
    save(models / "shared", params.shared, flat.leaves_of_children(flat.root.name))
    for name, expert in params.experts.items():
        save(before / name, expert, tree.leaves_of_children(name))
    check_all(Path("params.yaml"))


def test_a_tiny_file_and_one_of_another_tree_are_valid(tiny_params, deep_tree):
    assert problems(tiny_params()) == []
    changes = {"tree": deep_tree.to_dict(), "data.folder": "animals"}
    assert problems(tiny_params(**changes)) == []


def test_rendered_people_need_their_own_leaves_however_grouped(tiny_params, tree):
    leaves = {leaf.name: leaf.id for leaf in tree.leaves}
    assert problems(tiny_params(tree={"person": leaves}, experts={"person": {}})) == []
    leaves = {"forearm" if name == "low_hand" else name: i for name, i in leaves.items()}
    found = problems(tiny_params(tree={"person": leaves | {"hat": 9}}, experts={"person": {}}))
    assert found == [
        "tree: id 1 is 'forearm', of rendered people 'low_hand'; keep their leaves, or set "
        "data.folder to your own data set",
        "tree: 'hat' has id 9, which no pixel of rendered people has; take it out, or set "
        "data.folder to your own data set",
    ]


def test_each_stage_reads_its_sections(params_file, tmp_path, tree):
    path = params_file(tmp_path, **{"train.seed": 7, "final.mc_dropout_samples": 3})
    assert load_preprocessing_params(path).class_tree.root == tree.root
    assert load_train_params(path).experts["body"].seed == 7
    assert load_final_params(path).mc_dropout_samples == 3


def test_params_never_change(params_file, tmp_path):
    params = load_train_params(params_file(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        params.experts["body"].epochs = 2


# --- overrides ---------------------------------------------------------------------------------


def test_overrides_merge_key_by_key_at_any_depth(params_file, tmp_path):
    changes = {"experts.body": {"epochs": 9, "model": {"dropout": 0.5}}, "experts.person": None}
    experts = load_train_params(params_file(tmp_path, **changes)).experts
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


def test_a_missing_section_does_not_hide_problems_of_others(tiny_params):
    assert problems(tiny_params(**{"machine": ..., "train.epochs": 0})) == [
        "machine: is missing",
        "train.epochs: Input should be greater than 0, got 0",
    ]


# --- YAML --------------------------------------------------------------------------------------


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", "'1e-3'"])
def test_numbers_are_read_as_dvc_reads_and_writes_them(number, params_file, tmp_path):
    path = params_file(tmp_path, **{"train.learning_rate": 77})
    rewrite(path, "learning_rate: 77\n", f"learning_rate: {number}\n")
    assert load_train_params(path).experts["person"].learning_rate == 0.001


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


# --- the entry point ---------------------------------------------------------------------------


def run_main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["check_params", *arguments])
    check_params.main()


def test_main_names_the_file_that_is_valid(params_file, tmp_path, monkeypatch, capsys):
    path = params_file(tmp_path)
    run_main(monkeypatch, str(path))
    assert capsys.readouterr().out == f"{path}: params are valid\n"


def test_stamps_change_only_with_what_depends_on_them(
    params_file, tmp_path, monkeypatch, tiny_params
):
    stamps = [tmp_path / "made/valid", tmp_path / "made/regions"]
    texts = []
    predicted = {"regions": "predicted"}
    for changes in ({}, {"train.epochs": 7}, {"experts.body": predicted}):
        path = params_file(tmp_path, **changes)
        run_main(monkeypatch, str(path), "--stamps", *map(str, stamps))
        texts.append([stamp.read_text() for stamp in stamps])
    assert texts[0] == texts[1]
    assert texts[2][0] == texts[0][0] and texts[2][1] != texts[0][1]


@pytest.mark.slow
def test_main_prints_every_problem_and_fails(params_file, tmp_path):
    path = params_file(tmp_path, **{"train.epochs": 0, "final.mc_dropout_samples": "few"})
    command = [sys.executable, "-m", "final_model_stage.pipeline.check_params", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{path}: 2 problems",
        "  train.epochs: Input should be greater than 0, got 0",
        "  final.mc_dropout_samples: Input should be a valid integer, unable to parse string as an "
        "integer (at least 1, at most 1000), got 'few'",
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
