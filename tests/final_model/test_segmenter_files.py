"""A segmenter as files: what is kept, what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from segmenter_fixtures import MODEL, TREES, make_segmenter
from torch import nn

from final_model_stage import Segmenter
from final_model_stage.chain.settings import read_settings
from final_model_stage.torch_segmenter import TorchSegmenter

ROOT = Path(__file__).parents[2]


def test_saved_and_loaded_it_says_the_same(tmp_path):
    chain = make_segmenter(TREES[1])
    chain.save(tmp_path)
    loaded = TorchSegmenter.load(tmp_path, precision="32-true")
    assert {path.name for path in tmp_path.iterdir()} == {
        "segmenter.json",
        *(f"{name}.safetensors" for name in TREES[1].experts),
    }
    for name, expert in chain.experts.items():
        for key, weight in expert.named_parameters():
            assert torch.equal(loaded.experts[name].state_dict()[key], weight.half().float()), key


def test_saved_elsewhere_it_names_no_graphs_that_stayed_behind(tmp_path):
    source = tmp_path / "shipped"
    shutil.copytree(ROOT / "pretrained/default", source)
    segmenter = TorchSegmenter.load(source, device="cpu")
    segmenter.save(tmp_path / "saved")
    assert read_settings(tmp_path / "saved/segmenter.json").graphs == {}
    Segmenter.load(tmp_path / "saved")
    segmenter.save(source)
    assert read_settings(source / "segmenter.json").graphs == segmenter.settings.graphs != {}


def test_a_folder_without_a_segmenter_is_named_with_what_to_do(tmp_path):
    for load in (Segmenter.load, TorchSegmenter.load):
        with pytest.raises(FileNotFoundError, match=r"nix/segmenter\.json: there is none; name"):
            load(tmp_path / "nix")


def test_variances_that_half_precision_cannot_hold_are_kept(tmp_path):
    chain = make_segmenter(model=MODEL.model_copy(update={"norm": "batch"}))
    for name, buffer in chain.experts["upper"].named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(1e5 + 1)
    chain.save(tmp_path)
    loaded = TorchSegmenter.load(tmp_path, precision="32-true")
    norm = loaded.experts["upper"].decoder.blocks[0].norm
    assert torch.equal(norm.running_var, torch.full_like(norm.running_var, 1e5 + 1))


def test_a_weight_that_half_precision_cannot_hold_is_refused(tmp_path):
    chain = make_segmenter()
    nn.init.constant_(chain.experts["upper"].head.bias, 1e6)
    with pytest.raises(ValueError, match=r"upper.safetensors: head.bias has a weight beyond 65504"):
        chain.save(tmp_path)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    make_segmenter().save(tmp_path)
    config = json.loads((tmp_path / "segmenter.json").read_text())
    config["experts"]["upper"]["model"]["base_channels"] = 16
    (tmp_path / "segmenter.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"upper\.safetensors"):
        TorchSegmenter.load(tmp_path)


def test_a_file_of_before_there_were_targets_and_a_grid_says_the_same(tmp_path):
    shipped = ROOT / "pretrained/from_scratch/segmenter.json"
    values = json.loads(shipped.read_text())
    del values["grid_stride"]
    for expert in values["experts"].values():
        del expert["model"]["targets"]
    (tmp_path / "segmenter.json").write_text(json.dumps(values))
    old, new = read_settings(tmp_path / "segmenter.json"), read_settings(shipped)
    assert {expert.model.targets for expert in old.experts.values()} == {"leaves"}
    assert old == new.model_copy(update={"grid_stride": 1})
    assert old.digest == new.model_copy(update={"grid_stride": 1}).digest != new.digest


@pytest.mark.parametrize("name", ["default", "from_scratch"])
def test_shipped_segmenters_have_graphs_of_their_settings(name):
    folder = ROOT / "pretrained" / name
    settings = read_settings(folder / "segmenter.json")
    assert set(settings.graphs.values()) == {settings.digest, settings.fast.digest}
    assert all((folder / file).is_file() for file in settings.graphs)
