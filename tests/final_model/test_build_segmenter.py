"""Trained experts become one folder, or it is said why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from train_fixtures import sections, write_project

from final_model_stage import build_segmenter
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.paths import EXPERTS, PARAMS_FILE, SEGMENTER
from train_stage.model import Expert
from train_stage.task import Task
from train_stage.weights_file import training_metadata

BODY = {"upper": 1, "lower": 2}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random experts."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["build_segmenter"])
    return tmp_path


def write_params(targets: str, body: dict[str, int]) -> None:
    params = sections(model={"targets": targets}, init_from=None)
    params["tree"] = {"person": {"background": 0, "body": body}}
    params["final"]["average_ancestors"] = False
    PARAMS_FILE.write_text(json.dumps(params))


def write_experts() -> None:
    EXPERTS.mkdir(parents=True)
    for name in ("person", "body"):
        task = Task.of_expert(name)
        weights = Expert(task.params.model, task.tree.leaves_of_children(name)).state_dict()
        weights = {key: tensor.contiguous() for key, tensor in weights.items()}
        save_file(weights, EXPERTS / f"{name}.safetensors", training_metadata(task))


@pytest.mark.parametrize("targets", ["leaves", "children"])
def test_experts_become_a_segmenter(project: Path, targets: str) -> None:
    write_params(targets, BODY)
    write_experts()
    build_segmenter.main()
    assert TorchSegmenter.load(SEGMENTER).tree.experts == ("person", "body")


def test_children_in_another_order_than_at_the_training_are_refused(project: Path) -> None:
    write_params("children", BODY)
    write_experts()
    write_params("children", dict(reversed(BODY.items())))
    with pytest.raises(SystemExit, match=r"tree: siblings .* when person was .* train@person"):
        build_segmenter.main()
    assert not SEGMENTER.exists()


def test_leaves_in_another_order_are_the_same(project: Path) -> None:
    write_params("leaves", BODY)
    write_experts()
    write_params("leaves", dict(reversed(BODY.items())))
    build_segmenter.main()
