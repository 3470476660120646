"""What a training starts from: the shared network, a pretrained encoder, or random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from train_fixtures import TIMM, TREE, expert_params
from trainers import make_trainer

from train_stage.model import Expert


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Expert:
    """The shared network, of all leaves, in the file that a training takes it from."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    network = Expert(expert_params().model, np.eye(len(TREE.leaves), dtype=bool))
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    Path("models").mkdir()
    save_file(tensors, "models/shared.safetensors")
    return network


def test_an_expert_starts_from_the_shared_network_and_its_leaves_rows(
    shared: Expert, tmp_path: Path
) -> None:
    model = make_trainer(tmp_path, "body", {"init_from": None}, init_from="shared").model
    rows = [1, 2]  # background, upper, lower
    assert torch.equal(model.head.weight, shared.head.weight[rows])
    assert torch.equal(model.head.bias, shared.head.bias[rows])
    for part in ("encoder", "decoder"):
        own, given = (getattr(network, part).state_dict() for network in (model, shared))
        assert all(torch.equal(own[name], given[name]) for name in given)


def test_from_the_file_of_an_expert_above_it_takes_its_leaves_rows_too(
    shared: Expert, tmp_path: Path
) -> None:
    Path("models/shared.safetensors").rename("person.safetensors")
    model = make_trainer(tmp_path, "body", init_from="person.safetensors").model
    assert torch.equal(model.head.weight, shared.head.weight[[1, 2]])


def test_without_init_from_the_shared_network_is_not_used(shared: Expert, tmp_path: Path) -> None:
    model = make_trainer(tmp_path).model
    assert not torch.equal(model.encoder.stem.weight, shared.encoder.stem.weight)


def test_a_timm_encoder_starts_from_the_weights_of_the_params(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pretrained = timm.create_model(TIMM["encoder"]).state_dict()
    torch.save(pretrained, tmp_path / "weights.pt")
    weights = {"encoder_weights": str(tmp_path / "weights.pt")}
    found = make_trainer(tmp_path, model=TIMM, **weights).model.encoder.net.state_dict()
    assert all(torch.equal(tensor, pretrained[name]) for name, tensor in found.items())


def test_random_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    heads = []
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)
        heads.append(make_trainer(tmp_path / str(number), seed=seed).model.head.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
