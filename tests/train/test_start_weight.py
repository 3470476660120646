"""The mean of the weights that a training began with and its last ones."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from train_fixtures import TREE, expert_params, sections, write_project

from train_stage.model import Expert
from train_stage.params import train_problems
from train_stage.task import Task
from train_stage.training import run


def trained(folder: Path, start: dict[str, Tensor], node: str, weight: float) -> dict[str, Tensor]:
    """The weights of a root that was trained from those of a node."""
    folder.mkdir()
    save_file(start, folder / f"{node}.safetensors")
    changes = {"init_from": f"{node}.safetensors", "start_weight": weight, "decoder_epochs": 1}
    write_project(folder, **changes)
    with chdir(folder):
        run(Task.of_expert("person"))
    return load_file(folder / "models/experts/person.safetensors")


@pytest.mark.parametrize("node", ["person", "body"])
def test_a_training_ends_with_the_mean_of_its_first_and_last_weights(
    node: str, tmp_path: Path
) -> None:
    """A head for other classes started at random, and is that of the training alone."""
    torch.manual_seed(1)
    network = Expert(expert_params().model, TREE.leaves_of_children(node))
    start = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    last = trained(tmp_path / "last", start, node, 0.0)
    mean = trained(tmp_path / "mean", start, node, 0.25)
    assert not torch.equal(last["encoder.stem.weight"], start["encoder.stem.weight"])
    for name, tensor in mean.items():
        kept = tensor.is_floating_point() and (node == "person" or not name.startswith("head."))
        expected = 0.25 * start[name] + 0.75 * last[name] if kept else last[name]
        torch.testing.assert_close(tensor, expected, msg=name)


def test_random_weights_are_not_kept() -> None:
    _, problems = train_problems(sections(start_weight=0.5))
    assert any("start_weight 0.5" in one and "set it to 0 or init_from" in one for one in problems)
