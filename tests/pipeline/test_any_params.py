"""Whatever stands in `params.yaml`: a plan for every expert, or words that name the key."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from params_cases import REFUSED, REPO_PARAMS, key_paths, problems

from final_model_stage.params import final_problems
from final_model_stage.pipeline.check_params import check_all
from preprocessing_stage.params import ParamsError, preprocessing_problems
from train_stage.params import train_problems
from train_stage.phases import phases

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


@pytest.mark.slow
@settings(max_examples=300)
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


@pytest.mark.slow
@settings(max_examples=200)
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
            assert problem.startswith(("shared.", "experts.")) and f"{value}" in problem
        elif problem.startswith(f"{key}: "):
            assert problem.endswith(f", got {value!r}")
        else:  # it does not fit another one, and both are named
            named = str(value) in problem or repr(value) in problem
            assert problem.startswith(section) and named


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
