"""The model card: true to the segmenter and its figures, or refused."""

import json
import re

import numpy as np
import pytest
import yaml
from result_fixtures import write_results
from segmenter_fixtures import TREES, make_segmenter

from deploy.model_card import __main__ as model_card
from deploy.model_card.card import initial_weights, tree_lines
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from train_stage.params import train_problems

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)


@pytest.fixture(params=TREES, ids=["people", "deep"])
def workspace(request, tmp_path, params_file, monkeypatch):
    """A folder with params.yaml, results of random figures and the segmenter `mine`."""
    tree = request.param
    params_file(
        tmp_path,
        tree=tree.to_dict(),
        **{"data.description": "photographs of <cats> & dogs", "data.licence": "all mine"},
    )
    write_results(tmp_path / "results", tree)
    make_segmenter(tree, feeding={"input_size": 32}).save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_card_has_the_tree_the_results_and_the_experts(workspace, capsys):
    model_card.main(["mine", "results/final/metrics.json"])
    assert capsys.readouterr().out.strip() == "mine/README.md"
    card = (workspace / "mine/README.md").read_text()
    segmenter = TorchSegmenter.load("mine")
    figures = json.loads((workspace / "results/final/metrics.json").read_text())
    _, front_matter, text = card.split("---\n", 2)
    assert yaml.safe_load(front_matter)["pipeline_tag"] == "image-segmentation"
    assert text.startswith("\n# mine\n")
    assert "Photographs of <cats> & dogs. " in card
    assert "* Data: All mine." in card
    for k in range(segmenter.tree.depth):
        name, interval = f"mIoU_{k}", figures["interval"][f"mIoU_{k}"]
        given = figures["oracle"].get(f"level_{k - 1}", {}).get(name)
        row = [
            *(name, f"**{figures[name]:.3f}**"),
            f"{interval['low']:.3f} to {interval['high']:.3f}",
            f"{figures['per_image'][name]:.3f}",
            "\u2013" if given is None else f"{given:.3f}",
        ]
        assert f"| {' | '.join(row)} |\n" in card
    for name, iou in figures["iou"].items():
        shown = "\u2013" if iou is None else f"{iou:.3f}"
        assert f"| {name} |" in card and f"| {shown} |\n" in card
    experts = card.split("## Experts")[1]
    total = 0
    for name, expert in segmenter.experts.items():
        count = sum(p.numel() for p in expert.parameters())
        assert re.search(rf"^\| {name} \|.* {count:,} \|", experts, re.MULTILINE)
        total += count
    assert f"{total:,} parameters in total" in card
    lines = card.splitlines()  # tables have a blank line before them, or Markdown shows none
    assert all(
        lines[i - 1].startswith("|") or not lines[i - 1]
        for i, x in enumerate(lines)
        if x[:1] == "|"
    )


def test_metrics_that_hold_no_figures_are_refused(workspace):
    (workspace / "list.json").write_text("[1]")
    with pytest.raises(SystemExit, match=r"list\.json: holds no figures"):
        model_card.main(["mine", "list.json"])


def test_a_segmenter_with_a_card_loads_and_predicts_the_same(workspace):
    before = TorchSegmenter.load("mine", "32-true")(IMAGE)
    model_card.main(["mine", "results/final/metrics.json"])
    np.testing.assert_array_equal(TorchSegmenter.load("mine", "32-true")(IMAGE), before)
    assert not list((workspace / "mine").glob("*.part"))


def test_every_mismatch_is_reported_at_once(workspace, params_file):
    other = {"image": {"background": 0, "cat": 1}}
    (workspace / "other").mkdir()
    params = params_file(workspace / "other", tree=other)
    (workspace / "other.json").write_text('{"iou": {"cat": 0.5}}')
    with pytest.raises(SystemExit) as refused:
        model_card.main(["mine", "other.json", "--params", str(params)])
    message = str(refused.value)
    assert "class tree differs from that of the params" in message and "--params" in message
    assert "metrics are of the classes cat" in message and "evaluate_segmenter" in message
    assert not (workspace / "mine/README.md").exists()


def test_params_of_other_networks_are_refused(workspace, params_file):
    tree = TorchSegmenter.load("mine").tree
    (workspace / "other").mkdir()
    params = params_file(workspace / "other", tree=tree.to_dict(), **{"train.input_size": 64})
    root = tree.root.name
    expected = rf"mine: its expert {root} is unet at 32 pixels, that of the params unet at 64 pixel"
    with pytest.raises(SystemExit, match=expected):
        model_card.main(["mine", "results/final/metrics.json", "--params", str(params)])
    assert not (workspace / "mine/README.md").exists()


@pytest.mark.parametrize(
    "changes", [{"split": "train", "fast": False}, {"split": "val", "fast": True}]
)
def test_figures_of_something_else_are_refused(workspace, changes):
    path = workspace / "results/final/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SystemExit, match=f"the metrics are of the split {changes['split']}"):
        model_card.main(["mine", str(path)])


def test_an_output_folder_of_dvc_is_refused(workspace):
    (workspace / "models").mkdir()
    (workspace / "mine").rename(workspace / "models/segmenter")
    (workspace / "dvc.yaml").touch()
    with pytest.raises(SystemExit, match=r"models/segmenter: is an output of DVC.*copy"):
        model_card.main(["models/segmenter", "results/final/metrics.json"])


def test_a_readme_of_the_user_stays_and_a_card_is_renewed(workspace):
    readme = workspace / "mine/README.md"
    readme.write_text("---\nlicense: other\n---\nmine")
    with pytest.raises(SystemExit, match=r"README\.md: exists, and is no card.*move it away"):
        model_card.main(["mine", "results/final/metrics.json"])
    assert readme.read_text().endswith("mine")
    readme.unlink()
    for _ in range(2):
        model_card.main(["mine", "results/final/metrics.json"])


@pytest.mark.parametrize(
    "missing", ["mine/segmenter.json", "results/final/metrics.json", "params.yaml"]
)
def test_a_missing_file_is_named(workspace, missing):
    (workspace / missing).unlink()
    with pytest.raises(SystemExit, match=missing):
        model_card.main(["mine", "results/final/metrics.json"])


def test_initial_weights_are_named(tiny_params):
    def named(**changes):
        trained, found = train_problems(tiny_params(**changes))
        assert trained, found
        return initial_weights(trained, trained.experts["body"])

    assert named() == "random weights"
    assert named(**{"experts.body": {"init_from": "shared"}}).startswith("the shared network")
    assert "experts" in named(**{"train.init_from": "../somewhere/experts"})


def test_the_tree_as_text():
    tree = ClassTree({"all": {"none": 0, "some": {"a": 1, "b": 7}}})
    assert tree_lines(tree.root) == [
        "all",
        "├─ none (0)",
        "└─ some",
        "   ├─ a (1)",
        "   └─ b (7)",
    ]
