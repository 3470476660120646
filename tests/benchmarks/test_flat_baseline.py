"""The flat network is judged in the chain's tree."""

import json

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.flat_baseline import flat_segmenter, main
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.evaluation.metrics import class_iou
from train_stage.model import Expert
from train_stage.params import load_train_params


@pytest.fixture
def baseline(params_file, tree, tmp_path):
    """Params, and the weights of a network for all leaves that gives each some pixels."""
    params = params_file(tmp_path)
    torch.manual_seed(0)
    network = Expert(
        load_train_params(params).shared.model, tree.flat().leaves_of_children(tree.root.name)
    )
    torch.nn.init.normal_(network.head.weight)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "shared.safetensors")
    return params, tmp_path / "shared.safetensors"


def test_its_parents_are_sums_of_their_children(baseline, tree, make_dataset, tmp_path):
    params, weights = baseline
    data = make_dataset(tmp_path / "data")
    out = tmp_path / "out"
    main([str(weights), str(data.path), "--params", str(params), "--out", str(out)])
    figures = json.loads((out / "metrics.json").read_text())
    counts = evaluate(flat_segmenter(weights, params), data, "val").counts.sum(0)
    legs = [i for i, leaf in enumerate(tree.leaves) if leaf.id in tree.ids("lower_body")]
    hits = counts[legs][:, legs].sum()
    assert hits > 0
    union = counts[legs].sum() + counts[:, legs].sum() - hits
    assert figures["iou"]["lower_body"] == pytest.approx(hits / union, abs=1e-6)
    leaves = class_iou(counts, tree, tree.depth - 1)
    for node, value in zip(tree.level(tree.depth - 1), leaves, strict=True):
        assert figures["iou"][node.name] == pytest.approx(value, abs=1e-6)


def test_figures_of_something_else_stay(baseline, make_dataset, tmp_path):
    params, weights = baseline
    data = make_dataset(tmp_path / "data")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"has metrics\.json, not of an evaluation"):
        main([str(weights), str(data.path), "--params", str(params), "--out", str(tmp_path)])
    assert (tmp_path / "metrics.json").read_text() == "{}"


def test_what_does_not_fit_is_told_in_a_line(baseline, tree, make_dataset, tmp_path):
    params, weights = baseline
    data, out = make_dataset(tmp_path / "data").path, tmp_path / "out"

    def run(weights, data):
        main([str(weights), str(data), "--params", str(params), "--out", str(out)])

    with pytest.raises(SystemExit, match=r"No such file .*gone\.safetensors"):
        run(tmp_path / "gone.safetensors", data)
    with pytest.raises(SystemExit, match=r"gone: no such folder"):
        run(weights, tmp_path / "gone")
    save_file({"head.bias": torch.zeros(len(tree.leaves))}, weights)
    with pytest.raises(SystemExit, match=r"shared\.safetensors: no shared network of .*--params"):
        run(weights, data)
    weights.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"shared\.safetensors: no shared network of .*--params"):
        run(weights, data)
    assert not out.exists()
