"""Former names of keys are understood, and said to be former."""

import json

import pytest
from ruamel.yaml import YAML
from segmenter_fixtures import make_segmenter

from final_model_stage.chain.settings import read_settings
from final_model_stage.params import final_problems
from preprocessing_stage.params import read_yaml
from train_stage.params import train_problems


def test_params_of_the_release_before_give_the_same_params(tiny_params, tmp_path):
    new = tiny_params(**{"shared.init_from": None})
    old = json.loads(json.dumps(new))
    old["common"] = old.pop("shared")
    old["common"]["start_from"] = old["common"].pop("init_from")
    train = old["train"]
    train["start_from"] = "common" if train.pop("init_from") == "shared" else None
    train["larger"] = train.pop("high_resolution")
    train["augmentation"]["smallest_crop"] = train["augmentation"].pop("min_crop_scale")
    train["loss"]["class_weight_damping"] = train["loss"].pop("class_weight_power")
    final = old["final"]
    final["second_look"], final["mirror"] = final.pop("tta_views"), final.pop("tta_flip")
    final["passes"] = final.pop("mc_dropout_samples")
    for name, sections in (("old", old), ("new", new)):
        YAML().dump(sections, tmp_path / f"{name}.yaml")
    with pytest.warns(FutureWarning, match="common is now called shared") as warned:
        found = read_yaml(tmp_path / "old.yaml")
    assert len(warned) >= 8
    expected = read_yaml(tmp_path / "new.yaml")
    assert train_problems(found)[0] == train_problems(expected)[0] is not None
    assert final_problems(found)[0] == final_problems(expected)[0] is not None


def test_both_names_are_one_too_many(tiny_params, tmp_path):
    YAML().dump(tiny_params(**{"final.mirror": True}), tmp_path / "params.yaml")
    [problem] = final_problems(read_yaml(tmp_path / "params.yaml"))[1]
    assert problem.startswith("final.mirror: is unknown")


def test_classes_may_be_called_like_former_keys(tmp_path):
    tree = {"image": {"background": 0, "mirror": 1, "common": {"larger": 2, "passes": 3}}}
    YAML().dump({"tree": tree, "experts": {"common": {}}}, tmp_path / "params.yaml")
    assert read_yaml(tmp_path / "params.yaml") == {"tree": tree, "experts": {"common": {}}}


def test_a_segmenter_of_the_release_before_is_read(tmp_path):
    make_segmenter(tta_flip=True).save(tmp_path)
    path = tmp_path / "segmenter.json"
    values = json.loads(path.read_text())
    expected = read_settings(path)
    assert values.pop("version") == expected.version != ""
    values["second_look"], values["mirror"] = values.pop("tta_views"), values.pop("tta_flip")
    values["passes"] = values.pop("mc_dropout_samples")
    del values["closer_view_max_area"]
    path.write_text(json.dumps(values))
    with pytest.warns(FutureWarning, match="mirror is now called tta_flip"):
        assert read_settings(path) == expected.model_copy(update={"version": ""})
