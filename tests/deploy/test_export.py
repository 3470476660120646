"""Exported files give the segmenter's labels, on their own and as the docs show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from drawn_files import photograph
from export_images import images
from input_kinds import ROOT
from PIL import Image
from ruamel.yaml import YAML
from tiny_segmenter import tiny_segmenter

from deploy.export import __main__ as export
from deploy.export import formats
from deploy.export.drawn_scenes import drawn_scenes
from deploy.export.formats import FORMATS, Format, open_onnx
from deploy.export.verify import MIN_AGREEMENT, Agreement, find_photographs, verify
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.drawing.palette import palette

pytestmark = pytest.mark.slow

SMALL = ClassTree({"person": {"background": 0, "body": {"upper": 1, "lower": 4}}})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both formats, the segmenter and the images that they were checked on."""
    folder = tmp_path_factory.mktemp("export")
    tiny_segmenter(tree=SMALL, tta=True, rejects=True).save(folder / "segmenter")
    (folder / "images").mkdir()
    for number, image in enumerate(images()[:3]):
        Image.fromarray(image).save(folder / f"images/{number}.png")
    for kind in FORMATS:
        words = [str(folder / "segmenter"), "--out", str(folder / "exported"), "--format", kind]
        export.main([*words, "--images", str(folder / "images"), "--latency"])
    photograph((48, 70), 9).save(folder / "photo.jpg", quality=95)
    return folder


def test_an_expert_whose_region_is_empty_does_not_run(tmp_path: Path) -> None:
    segmenter = tiny_segmenter(tree=SMALL, tta=True, rejects=True)
    with torch.no_grad():
        segmenter.experts["person"].head.bias[0] += 100  # all is background
    (tmp_path / "chain.onnx").write_bytes(formats.encode_onnx(segmenter))
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "run")
    session = onnxruntime.InferenceSession(tmp_path / "chain.onnx", options)
    session.run(["labels"], {"image": np.zeros((40, 40, 3), np.uint8)})
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event for event in events if "Conv" in event.get("args", {}).get("op_name", "")]
    network = segmenter.experts["person"].modules()
    dilated = len(segmenter.tree.experts) - 1  # a convolution for the region of each child
    # Of a square image the root predicts one view; its children predict none.
    assert len(ran) == sum(isinstance(module, torch.nn.Conv2d) for module in network) + dilated


def test_experts_of_children_are_exported_like_others() -> None:
    segmenter = tiny_segmenter("product", tta=True, targets="children")
    session = onnxruntime.InferenceSession(formats.encode_onnx(segmenter))
    seen = set()
    for image in images()[:4]:
        expected = segmenter.segment(image)
        seen |= set(np.unique(expected.labels))
        probabilities, labels = session.run(["probabilities", "labels"], {"image": image})
        np.testing.assert_allclose(probabilities, expected.leaf_probabilities, atol=1e-4, rtol=0)
        assert (labels == expected.labels).mean() >= MIN_AGREEMENT
    assert len(seen) > 2


@pytest.mark.parametrize("kind", FORMATS)
def test_file_gives_the_segmenters_labels(exported: Path, kind: str) -> None:
    run = FORMATS[kind].open(exported / "exported" / FORMATS[kind].file)
    segmenter = TorchSegmenter.load(exported / "segmenter", "32-true")
    # a graph of torch.export takes no image that is one pixel high after it is scaled down
    given = [image for image in images() if kind == "onnx" or min(image.shape[:2]) > 5]
    same = [(run(image) == segmenter(image)).ravel() for image in given]
    assert np.concatenate(same).mean() >= MIN_AGREEMENT


@pytest.mark.parametrize("kind", FORMATS)
def test_file_names_no_folder_of_the_machine_it_was_made_on(exported: Path, kind: str) -> None:
    assert str(ROOT).encode() not in (exported / "exported" / FORMATS[kind].file).read_bytes()


def test_onnx_gives_probabilities_and_holds_its_classes(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "exported/segmenter.onnx")
    [given], outputs = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert [out.name for out in outputs] == ["probabilities", "labels"]
    image = images()[1]
    [probabilities] = session.run(["probabilities"], {"image": image})
    expected = tiny_segmenter(tree=SMALL, tta=True, rejects=True).segment(image).leaf_probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-4, rtol=0)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == {str(leaf.id): leaf.name for leaf in SMALL.leaves}
    for leaf, colour in json.loads(metadata["colours"]).items():
        assert palette(SMALL)[int(leaf)].tolist() == colour


@pytest.mark.parametrize("heading", ["With ONNX Runtime", "With torch"])
def test_examples_of_the_docs_run_alone(exported: Path, heading: str) -> None:
    section = (ROOT / "docs/export.md").read_text().partition(f"## {heading}\n")[2]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None
    forbid = "import sys; sys.modules |= dict.fromkeys(['final_model_stage', 'train_stage'])\n"
    answer = subprocess.run(
        [sys.executable, "-c", forbid + match[1]], cwd=exported, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    with Image.open(exported / "photo.jpg") as photo:
        labels = tiny_segmenter(tree=SMALL, tta=True, rejects=True)(np.asarray(photo))
    assert f"background: {(labels == 0).mean():.1%} of the picture" in answer.stdout
    if heading == "With ONNX Runtime":
        with Image.open(exported / "labels.png") as picture:
            assert (np.asarray(picture) == palette(SMALL)[labels]).all(2).mean() > 0.999


def test_an_export_with_other_labels_is_not_kept(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = Format("segmenter.pt2", formats.encode_torch, lambda path: lambda image: image[..., 0])
    monkeypatch.setitem(FORMATS, "torch", wrong)
    words = [str(exported / "segmenter"), "--out", str(tmp_path), "--format", "torch"]
    with pytest.raises(SystemExit, match="2"):
        export.main([*words, "--images", str(exported / "images")])
    assert "not exported" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_validation_images_are_the_default(
    make_dataset: Callable, params_file: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_dataset(tmp_path / "data", val=3)
    params_file(tmp_path, **{"data.folder": "data"})
    assert YAML(typ="safe").load(Path("params.yaml"))["data"]["folder"] == "data"
    found = find_photographs([], tmp_path / "out")
    assert {Path(image.name).stem for image in found} == set(folder.ids("val"))
    assert found[0].load().shape[2] == 3


def test_without_photographs_it_is_verified_on_drawn_scenes(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As in a fresh clone, which has no data, and after `pip install .`: without params.yaml."""
    monkeypatch.chdir(tmp_path)
    verified: list[np.ndarray] = []
    segmenter = TorchSegmenter.load(exported / "segmenter", "32-true")

    def run(image: np.ndarray) -> np.ndarray:
        verified.append(image)
        return segmenter(image)

    fake = Format("segmenter.fake", lambda segmenter: b"", lambda path: run)
    monkeypatch.setitem(FORMATS, "torch", fake)
    export.main([str(exported / "segmenter"), "--out", "out", "--format", "torch"])
    assert Path("out/segmenter.fake").exists()
    for image, scene in zip(verified, drawn_scenes(), strict=True):
        np.testing.assert_array_equal(image, scene)
    printed = capsys.readouterr().out
    assert f"of {len(verified)} drawn scenes" in printed
    assert "no photographs" in printed and "--images" in printed

    Path("out/segmenter.fake").write_text("somebody's own")
    with pytest.raises(SystemExit):
        export.main([str(exported / "segmenter"), "--out", "out", "--format", "torch"])
    assert "out/segmenter.fake: exists; remove it" in capsys.readouterr().err
    assert Path("out/segmenter.fake").read_text() == "somebody's own"


def test_classes_that_no_pixel_has_are_named(exported: Path) -> None:
    segmenter = TorchSegmenter.load(exported / "segmenter", "32-true")
    with torch.no_grad():
        segmenter.experts["person"].head.bias[0] += 99
    images = find_photographs([str(exported / "images")], exported / "out")
    assert verify(segmenter, segmenter, images) == Agreement(1.0, ["upper", "lower"])


def test_images_that_are_given_must_be_some(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"clip\.mp4: contains no image"):
        find_photographs([str(tmp_path / "clip.mp4")], tmp_path / "out")


def test_drawn_scenes_are_the_same_each_time() -> None:
    for one, other in zip(drawn_scenes(), drawn_scenes(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[export\]'"):
        open_onnx(tmp_path / "a.onnx")
