"""All stages through DVC, with a tree of other names and depth and without a change of code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_network
from PIL import Image
from ruamel.yaml import YAML

from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, write_listing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Four levels, five inner nodes, a leaf directly below the root's child, ids with gaps.
TREE = {
    "scene": {
        "nothing": 0,
        "thing": {
            "tail": 9,
            "front": {"nose": 2, "paw": {"left": 7, "right": 30}},
            "back": {"leg": 4, "fin": 5},
        },
    }
}
EXPERTS = ["scene", "thing", "front", "paw", "back"]
NAMES = {0: "nothing", 2: "nose", 4: "leg", 5: "fin", 7: "left", 9: "tail", 30: "right"}


def write_data(folder):
    """Each leaf a stripe of its own colour; some noise."""
    rng = np.random.default_rng(0)
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "gt_masks").mkdir()
    splits = {"train": [f"t{i}" for i in range(12)], "val": [f"v{i}" for i in range(4)]}
    for sample in splits["train"] + splits["val"]:
        labels = np.repeat(rng.permutation(list(NAMES)), 5).astype(np.uint8)[:, None]
        labels = np.repeat(labels, 40, axis=1)
        value = labels.astype(int)
        colours = np.stack([value * 8, 255 - value * 5, value * 3 % 256], axis=2)
        image = np.clip(colours + rng.normal(0, 8, (35, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "JPEGImages" / f"{sample}.png")
        np.save(folder / "gt_masks" / f"{sample}.npy", labels)
    write_listing(folder, splits, NAMES)


def tiny_params(data):
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    params["tree"] = TREE
    params["data"] |= {"folder": str(data), "longest_side": 40}
    params["render_people"] |= {"train": 2, "val": 1, "size": 32}
    params["train"] |= {
        "input_size": 32,
        "batch_size": 4,
        "epochs": 1,
        "decoder_epochs": 1,
        "precision": "32-true",
        "encoder_weights": None,
        "model": params["train"]["model"] | tiny_network.SIZE,
    }
    params["shared"] = {"init_from": None}
    params["experts"] = {name: {} for name in EXPERTS}
    params["final"] |= {"bootstrap": 100, "examples": 2, "precision": "32-true"}
    return params


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A copy without Git of what the pipeline needs, reproduced once."""
    folder = tmp_path_factory.mktemp("workspace")
    for stage in ("preprocessing_stage", "train_stage", "final_model_stage"):
        shutil.copytree(ROOT / stage, folder / stage, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    write_data(folder / "animals")
    write_params(folder, tiny_params("animals"))
    dvc(folder, "init", "-q", "--no-scm")
    dvc(folder, "config", "core.analytics", "false")
    (folder / "log").write_text(dvc(folder, "repro"))
    return folder


def write_params(folder, params):
    YAML().dump(params, folder / "params.yaml")


def dvc(folder, *words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["dvc", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(log):
    return [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")]


def test_every_stage_runs_for_every_expert_of_the_tree(workspace):
    stages = ran((workspace / "log").read_text())
    assert set(stages) == {
        *("render_people", "pack_samples", "class_frequencies", "find_grayscale", "sample_sheet"),
        *("check_params", "train_shared", "predict_out_of_fold"),
        *(f"train@{name}" for name in EXPERTS),
        *("build_segmenter", "evaluate_segmenter", "render", "report"),
    }
    assert stages[-4:] == ["build_segmenter", "evaluate_segmenter", "render", "report"]


def test_figures_cover_all_four_levels(workspace):
    figures = json.loads((workspace / "results/final/metrics.json").read_text())
    assert figures["protocol"] == "dataset"
    assert figures["images"] == 4
    assert {k for k in figures if k.startswith("mIoU")} == {f"mIoU_{k}" for k in range(4)}
    assert figures["iou"].keys() == {
        *("thing", "tail", "front", "back", "nose", "paw", "left", "right", "leg", "fin")
    }
    assert figures["oracle"].keys() == {"level_0", "level_1", "level_2"}


def test_pictures_are_there(workspace):
    pictures = {path.name for path in (workspace / "results/pictures").iterdir()}
    assert pictures >= {"class_iou.png", "confusion.png", "examples.jpg", "best.jpg", "worst.jpg"}


def test_the_segmenter_loads_in_another_program(workspace):
    segmenter = TorchSegmenter.load(workspace / "models/segmenter")
    folder = DatasetFolder(workspace / "animals")
    image = np.asarray(Image.open(folder.image_path("v0")).convert("RGB"))
    labels = segmenter(image)
    assert labels.shape == image.shape[:2]
    assert set(np.unique(labels)) <= set(NAMES)


def test_nothing_runs_a_second_time(workspace):
    assert ran(dvc(workspace, "repro")) == []
    assert "up to date" in dvc(workspace, "status", "--with-deps", "report")


def test_the_report_needs_every_stage_but_people_who_are_not_looked_at(workspace):
    """So `./pipeline.sh` runs it."""
    stages = ran((workspace / "log").read_text())
    needed = ran(dvc(workspace, "repro", "--dry", "--force", "report"))
    assert set(stages) - set(needed) == {"render_people"}


def test_one_experts_params_retrain_it_alone_and_going_back_restores(workspace):
    trained = workspace / "models/segmenter/back.safetensors"
    before = trained.read_bytes()
    params = tiny_params("animals")
    params["experts"]["back"] = {"learning_rate": 0.01}
    write_params(workspace, params)
    final = ["build_segmenter", "evaluate_segmenter", "render", "report"]
    assert ran(dvc(workspace, "repro")) == ["check_params", "train@back", *final]
    assert trained.read_bytes() != before

    write_params(workspace, tiny_params("animals"))
    assert ran(dvc(workspace, "repro")) == [], "everything comes from the run cache"
    assert trained.read_bytes() == before


def test_a_wrong_key_of_the_last_stage_stops_before_any_training(workspace):
    params = tiny_params("animals")
    params["experts"]["back"] = {"learning_rate": 0.02}  # would be trained anew
    params["final"]["mode"] = "prodct"
    write_params(workspace, params)
    with pytest.raises(AssertionError, match=r"final\.mode: Input should be .hard. or .product."):
        dvc(workspace, "repro")
    write_params(workspace, tiny_params("animals"))
    assert ran(dvc(workspace, "repro")) == []


def test_a_changed_rendering_does_not_retrain(workspace):
    names = ("final_model_stage/render.py", "preprocessing_stage/drawing/palette.py")
    sources = {workspace / name: (ROOT / name).read_text() for name in names}
    for path, text in sources.items():
        path.write_text(text + "# changed\n")
    status = dvc(workspace, "status")
    for path, text in sources.items():
        path.write_text(text)
    assert "render" in status
    assert "train@" not in status
    assert "evaluate_segmenter" not in status
