"""A segmenter's folder with graphs gives the same in ONNX Runtime, and needs no PyTorch."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_files import photograph
from export_images import images
from input_kinds import ROOT
from PIL import Image
from tiny_segmenter import tiny_segmenter

from deploy.demo.trace import segment_with_trace
from deploy.export import __main__ as export
from final_model_stage import Segmenter
from final_model_stage.onnx_segmenter import OnnxSegmenter, prefers_onnx
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree

pytestmark = pytest.mark.slow

SMALL = ClassTree({"person": {"background": 0, "body": {"upper": 1, "lower": 4}}})
WITHOUT_TORCH = """
import sys
sys.modules |= dict.fromkeys(["torch", "torchvision", "timm", "dvc", "lightning_fabric"])
sys.argv[0] = "a command"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter with graphs, whose children are told their parent's probabilities."""
    made = tmp_path_factory.mktemp("light")
    segmenter = tiny_segmenter(tree=SMALL, tta=True, rejects=True)
    settings = segmenter.settings.model_copy(update={"tta_views": False})  # a smaller graph
    TorchSegmenter(settings, segmenter.experts).save(made / "plain")
    for number, image in enumerate(images()[:3]):
        Image.fromarray(image).save(made / f"{number}.png")
    words = [str(made / "plain"), "--out", str(made / "light"), "--format", "folder"]
    export.main([*words, "--images", str(made)])
    photograph((48, 70), 9).save(made / "photo.jpg", quality=95)
    return made


@pytest.fixture
def light(folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(folder / "light", tmp_path / "light"))


@pytest.mark.parametrize("fast", [False, True])
def test_labels_and_probabilities_are_those_of_pytorch(folder: Path, fast: bool) -> None:
    onnx = OnnxSegmenter.of_folder(folder / "light", fast=fast)
    torch_ = TorchSegmenter.load(folder / "plain", "32-true", fast=fast)
    for image in images():
        result, expected = onnx.segment(image), torch_.segment(image)
        assert (result.labels == expected.labels).mean() > 0.99
        np.testing.assert_allclose(
            result.leaf_probabilities, expected.leaf_probabilities, atol=1e-3, rtol=0
        )
    many = onnx.label_maps(images())
    for labels, image in zip(many, images(), strict=True):
        np.testing.assert_array_equal(labels, onnx(image))


def test_views_are_shown_where_one_by_each_expert_is_all_there_is(tmp_path: Path) -> None:
    tiny_segmenter(tree=SMALL).save(tmp_path / "plain")
    Image.fromarray(images()[0]).save(tmp_path / "0.png")
    words = [str(tmp_path / "plain"), "--out", str(tmp_path / "light"), "--format", "folder"]
    export.main([*words, "--images", str(tmp_path)])
    _, traces = segment_with_trace(OnnxSegmenter.of_folder(tmp_path / "light"), images()[0])
    assert [len(trace.views) for trace in traces] == [1, 1]


def test_views_are_those_of_pytorch(folder: Path) -> None:
    """Of a square image the root has fewer, and where it finds nothing the others have none."""
    onnx = OnnxSegmenter.of_folder(folder / "light")
    torch_ = TorchSegmenter.load(folder / "plain", "32-true")
    for image in images()[:3]:
        _, traces = segment_with_trace(onnx, image)
        _, expected = segment_with_trace(torch_, image)
        assert [len(t.views) for t in traces] == [len(t.views) for t in expected]
        for trace, other in zip(traces, expected, strict=True):
            for view, same in zip(trace.views, other.views, strict=True):
                np.testing.assert_allclose(view.probabilities, same.probabilities, atol=1e-3)
                np.testing.assert_array_equal(view.mask, same.mask)
                np.testing.assert_allclose(view.crop.astype(int), same.crop, atol=1)


def test_weights_are_stored_once(folder: Path) -> None:
    graphs = [path.stat().st_size for path in (folder / "light").glob("*.gz")]
    assert len(graphs) == 3 and max(graphs) < 100_000
    for path in (folder / "plain").glob("*.safetensors"):
        assert (folder / "light" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        "from deploy.predict.__main__ import main; main(['photo.jpg', '--out', 'out', "
        "'--segmenter', 'light', '--overlay', '--uncertainty'])",
        "from final_model_stage.valid_segmentation import main; "
        "main(['photo.jpg', '--out', 'seen', '--segmenter', 'light'])",
        "import numpy as np; from final_model_stage import Segmenter; "
        "from deploy.demo.response import response; "
        "response(Segmenter.load('light'), np.zeros((40, 50, 3), np.uint8))",
        "import deploy.demo.__main__, deploy.coco.__main__",
    ],
)
def test_no_pytorch_is_needed(folder: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_other_settings_than_those_of_the_graph_are_not_run_with_it(light: Path) -> None:
    values = json.loads((light / "segmenter.json").read_text())
    other = "hard" if values["mode"] == "product" else "product"
    (light / "segmenter.json").write_text(json.dumps(values | {"mode": other}))
    with pytest.raises(ValueError, match="no graph of its settings"):
        OnnxSegmenter.of_folder(light)
    assert isinstance(Segmenter.load(light, "32-true", device="cpu"), TorchSegmenter)


def test_onnx_runtime_is_chosen_on_a_processor(
    light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in ("auto", "32-true"):
        assert isinstance(Segmenter.load(light, precision, device="cpu"), OnnxSegmenter)
    assert isinstance(Segmenter.load(light, "bf16-mixed", device="cpu"), TorchSegmenter)
    monkeypatch.setattr("final_model_stage.onnx_segmenter._may_have_gpu", lambda: True)
    for has_gpu in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda has_gpu=has_gpu: has_gpu)
        assert prefers_onnx(light, "auto", fast=False, device=None) != has_gpu


def test_without_its_graph_a_folder_is_run_by_pytorch(light: Path) -> None:
    (light / "chain.onnx.gz").unlink()
    assert isinstance(Segmenter.load(light, device="cpu"), TorchSegmenter)


def test_a_precision_that_needs_pytorch_says_so_without_it(
    light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "final_model_stage.onnx_segmenter.find_spec", lambda name: None if name == "torch" else 1
    )
    assert prefers_onnx(light, "auto", fast=False, device=None)
    with pytest.raises(ImportError, match="bf16-mixed needs PyTorch"):
        prefers_onnx(light, "bf16-mixed", fast=False, device=None)


def test_damage_is_named(light: Path) -> None:
    weights, graph = light / "body.safetensors", light / "chain.onnx.gz"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"body\.safetensors: damaged"):
        OnnxSegmenter.of_folder(light)
    values = json.loads((light / "segmenter.json").read_text())
    (light / "segmenter.json").write_text(json.dumps(values | {"sha256": {}}))
    graph.write_bytes(graph.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"chain\.onnx\.gz: is damaged"):
        OnnxSegmenter.of_folder(light)


def test_a_graph_of_other_experts_is_named(light: Path) -> None:
    segmenter = OnnxSegmenter.of_folder(light)
    weights = dict(segmenter._weights)
    some = next(name for name, values in weights.items() if values.shape[-1] > 1)
    weights[some] = weights[some][..., :1].copy()
    with pytest.raises(ValueError, match="does not fit"):
        OnnxSegmenter(segmenter.settings, segmenter._graph, weights)(images()[0])


def test_weights_that_the_graph_does_not_use_are_left_out(light: Path) -> None:
    segmenter = OnnxSegmenter.of_folder(light)
    weights = segmenter._weights | {"body.unused": np.zeros(3, np.float32)}
    more = OnnxSegmenter(segmenter.settings, segmenter._graph, weights)
    np.testing.assert_array_equal(more(images()[0]), segmenter(images()[0]))


def test_it_is_pickled_without_its_sessions(folder: Path) -> None:
    segmenter = OnnxSegmenter.of_folder(folder / "light")
    labels = segmenter(images()[0])
    again = pickle.loads(pickle.dumps(segmenter))
    np.testing.assert_array_equal(again(images()[0]), labels)


def test_no_file_outside_the_folder_is_read(light: Path) -> None:
    values = json.loads((light / "segmenter.json").read_text())
    values["graphs"] = {"../chain.onnx.gz": values["graphs"]["chain.onnx.gz"]}
    (light / "segmenter.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="graphs"):
        Segmenter.load(light)


def test_a_folder_with_other_files_is_not_written_into(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    words = [str(folder / "plain"), "--out", str(tmp_path), "--format", "folder"]
    with pytest.raises(SystemExit, match="2"):
        export.main([*words, "--images", str(folder / "0.png")])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
