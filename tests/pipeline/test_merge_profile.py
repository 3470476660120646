"""The params of a workspace: made of params.yaml and a profile, for one data set."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from params_cases import ROOT

from final_model_stage.pipeline import merge_profile
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
    command = ["merge_profile", "mine.yaml", "--data", data, "--out", str(OUT)]
    monkeypatch.setattr(sys, "argv", command)
    merge_profile.main()


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
