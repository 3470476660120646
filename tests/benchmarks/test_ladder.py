"""Each step of the ladder is a valid profile, and what is finished is not trained again."""

from __future__ import annotations

import json

import pytest
from ruamel.yaml import YAML

from benchmarks import ladder
from final_model_stage.pipeline.check_params import check_all
from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.params import read_yaml
from preprocessing_stage.paths import PARAMS_FILE


@pytest.mark.parametrize("number", range(len(ladder.STEPS)), ids=list(ladder.STEPS))
def test_every_step_is_a_valid_profile_that_changes_something(
    number, make_dataset, tmp_path, monkeypatch
):
    data = make_dataset(tmp_path / "data").path
    params = read_yaml(ladder.ROOT / PARAMS_FILE)
    before, sections = (
        merge_profile(params, ladder.profile_of(step), data) for step in (number - 1, number)
    )
    assert (sections == before) == (number == 0)
    monkeypatch.chdir(tmp_path)
    with PARAMS_FILE.open("w") as file:
        YAML().dump(sections, file)
    check_all(PARAMS_FILE)


def test_a_run_that_was_broken_off_goes_on(tmp_path, monkeypatch, capsys):
    climbed = []

    def climb(number, data, out):
        climbed.append(number)
        if climbed == [0, 1]:
            raise KeyboardInterrupt
        miou = {"mIoU_0": 0.5 + number / 100, "mIoU_1": 0.25}
        return ladder.Rung(list(ladder.STEPS)[number], 2.0, 1.25, miou, {})

    monkeypatch.setattr(ladder, "climb", climb)
    arguments = ["people", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        ladder.main(arguments)
    ladder.main(arguments)
    assert climbed == [0, 1, *range(1, len(ladder.STEPS))]
    assert "| batch norm | 0.510 | 0.250 | 1.25 | 2 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "1.json").read_text())["step"] == "batch norm"
    assert "</svg>" in (tmp_path / "ladder.svg").read_text()
