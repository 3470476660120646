"""The params of a workspace: made of params.yaml and a profile, for one data set."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from params_cases import ROOT

from final_model_stage.pipeline import merge_profile as command
from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.params import read_yaml

OUT = Path("runs/mine/params.yaml")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "mine.yaml").write_text("train: {epochs: 9}\n")
    (tmp_path / OUT).parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merge(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["merge_profile", "mine.yaml", "--data", data, "--out", str(OUT)]
    monkeypatch.setattr(sys, "argv", words)
    command.main()


def test_the_file_says_what_to_edit_instead(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge("photos", monkeypatch)
    assert OUT.read_text().startswith("# Made of params.yaml and mine.yaml: edit these.\n")
    params = read_yaml(OUT)
    assert params["train"]["epochs"] == 9
    assert params["data"]["folder"] == str(place / "photos")
    merge("photos", monkeypatch)
    assert read_yaml(OUT) == params


def test_results_on_other_data_are_not_replaced(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge("photos", monkeypatch)
    before = OUT.read_bytes()
    with pytest.raises(SystemExit, match=r"runs/mine: holds results on .*photos; copy the profile"):
        merge("others", monkeypatch)
    assert OUT.read_bytes() == before


@pytest.mark.parametrize("letter", ["$", "`", '"', "\\"])
def test_a_path_that_no_command_can_hold_does_not_begin_a_workspace(
    letter: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        merge(f"my {letter} photos", monkeypatch)
    assert str(refused.value).endswith(
        f"my {letter} photos has {letter}, which a shell takes for more than a letter; "
        "rename or move the folder"
    )
    assert not OUT.exists()


def test_a_profile_overrides_single_keys_and_brings_its_experts_with_its_tree():
    base = read_yaml(ROOT / "params.yaml")
    merged = merge_profile(base, {"train": {"model": {"depth": 3}}}, Path("people"))
    assert merged["train"]["model"] == base["train"]["model"] | {"depth": 3}
    assert merged["experts"] == base["experts"] and merged["data"]["folder"] == "people"
    tree = {"scene": {"background": 0, "animal": 1}}
    other = merge_profile(base, {"tree": tree, "experts": {"scene": {}}}, Path("animals"))
    assert other["tree"] == tree and other["experts"] == {"scene": {}}
    base["swap"] = [["low_hand", "up_hand"]]
    assert merge_profile(base, {"tree": tree}, Path("animals"))["swap"] == []


def test_a_profile_says_nothing_of_its_data_that_is_true_of_others():
    base = read_yaml(ROOT / "params.yaml")
    silent = merge_profile(base, {"data": {"longest_side": 64}}, Path("data/holidays"))["data"]
    assert silent["description"] == "the data set holidays"
    assert silent["licence"] == "see where the data come from"
    assert silent["near_gray_chroma"] == base["data"]["near_gray_chroma"]
    own = {"description": "our holidays", "licence": "ours"}
    assert own.items() <= merge_profile(base, {"data": own}, Path("x"))["data"].items()
