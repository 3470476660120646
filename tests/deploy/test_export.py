"""The exported chain says what the segmenter says, for images of any size and regions of any."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from input_kinds import ROOT, TREE, tiny_segmenter
from PIL import Image
from ruamel.yaml import YAML

from deploy.export import __main__ as export
from deploy.export.graph import Chain, grid_in_box, grid_in_image, pixel_centres
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.shrink import shrink
from preprocessing_stage.drawing.palette import palette
from train_stage.regions import box_frame, region_box, unwarp, warp

DEEP = ClassTree(
    {"scene": {"none": 0, "thing": {"tail": 9, "animal": {"front": {"l": 7, "r": 30}, "back": 4}}}}
)
SMALL = ClassTree({"person": {"background": 0, "body": {"upper": 1, "lower": 4}}})
SIZES = [(24, 32), (40, 60), (97, 61), (5, 300), (1, 1), (33, 2)]


def images() -> list[np.ndarray]:
    return [np.array(photograph(size, seed)) for seed, size in enumerate(SIZES)]


def random_region(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    region = np.zeros(rng.integers(1, 60, 2), bool)
    top, left = (rng.integers(0, side) for side in region.shape)
    region[top : top + rng.integers(1, 60), left : left + rng.integers(1, 60)] = True
    return torch.from_numpy(region & (rng.random(region.shape) < 0.8))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_box_and_ways_are_those_of_training(seed: int) -> None:
    region = random_region(seed)
    if not region.any():
        return
    box = region_box(region, 0.1)
    size, frame = 24, box_frame(box)
    grid = grid_in_image(box, pixel_centres(size), *region.shape)
    mask = torch.nn.functional.grid_sample(
        region[None, None].float(), grid, "nearest", "zeros", align_corners=False
    )
    torch.testing.assert_close(
        mask[0], warp(region[None].float(), frame, size, "nearest"), atol=0, rtol=0
    )
    said = torch.rand(2, size, size, generator=torch.Generator().manual_seed(seed))
    back = torch.nn.functional.grid_sample(
        said[None], grid_in_box(box, *region.shape), "bilinear", "border", align_corners=False
    )
    torch.testing.assert_close(back[0], unwarp(said, frame, *region.shape), atol=1e-3, rtol=0)


def test_an_empty_region_has_a_finite_box() -> None:
    box = region_box(torch.zeros(7, 9, dtype=torch.bool), 0.1)
    assert torch.isfinite(grid_in_box(box, 7, 9)).all()
    assert torch.isfinite(grid_in_image(box, pixel_centres(4), 7, 9)).all()


@pytest.mark.parametrize("size", [(40, 60), (300, 500), (60, 60), (31, 32), (90, 61)])
def test_it_shrinks_like_pillow(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    chain = Chain(tiny_segmenter())
    small = chain._shrink(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    expected = shrink(image, 32)
    assert tuple(small.shape) == (1, 3, *expected.shape[:2])
    difference = np.abs(small[0].permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@pytest.mark.parametrize("tree", [TREE, DEEP], ids=["people", "deep"])
@pytest.mark.parametrize("mode", ["hard", "product"])
@pytest.mark.parametrize("looks", [False, True])
def test_chain_says_what_the_segmenter_says(mode: str, looks: bool, tree: ClassTree) -> None:
    segmenter = tiny_segmenter(mode, tree=tree, looks=looks)
    chain = Chain(segmenter)
    for image in images():
        with torch.inference_mode():
            probabilities, labels = chain(torch.from_numpy(image))
        expected = segmenter.segment(image)
        np.testing.assert_allclose(
            probabilities.numpy(), expected.leaf_probabilities, atol=1e-4, rtol=0
        )
        assert (labels.numpy() == expected.labels).mean() > 0.999
        assert labels.dtype == torch.uint8


@pytest.mark.parametrize(
    ("size", "most"),
    # The whole image, both ends of an oblong one, and the foreground.
    [((28, 32), 4), ((32, 32), 2)],
)
def test_a_second_look_is_where_the_segmenter_takes_it(
    size: tuple[int, int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    ask = Segmenter._ask

    def count(self: Segmenter, name: str, images: list, regions: list, boxes: list) -> list:
        nonlocal looks
        looks += len(images) if name == "person" else 0
        return ask(self, name, images, regions, boxes)

    monkeypatch.setattr(Segmenter, "_ask", count)
    image = np.array(photograph(size, 3))
    taken = set()
    for shift in np.linspace(0, 6, 25):  # the foreground shrinks until there is none
        segmenter = tiny_segmenter(looks=True)
        with torch.no_grad():
            segmenter.experts["person"].head.bias[0] += shift
        looks = 0
        expected = segmenter.segment(image)
        taken.add(looks)
        probabilities, labels = Chain(segmenter)(torch.from_numpy(image))
        np.testing.assert_allclose(
            probabilities.detach(), expected.leaf_probabilities, atol=1e-4, rtol=0
        )
        assert (labels.numpy() == expected.labels).all()
    assert taken == {most - 1, most}  # with and without the foreground


def test_experts_without_a_region_change_nothing() -> None:
    segmenter = tiny_segmenter()
    with torch.no_grad():  # all is background
        segmenter.experts["person"].head.bias[0] += 99
    image = images()[1]
    _, labels = Chain(segmenter)(torch.from_numpy(image))
    assert not labels.any() and not segmenter(image).any()


def test_stochastic_passes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 stochastic passes"):
        Chain(tiny_segmenter(mc_dropout_samples=3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both formats, the segmenter and the images that they were checked on."""
    folder = tmp_path_factory.mktemp("export")
    tiny_segmenter(tree=SMALL, looks=True).save(folder / "segmenter")
    (folder / "images").mkdir()
    for number, image in enumerate(images()[:3]):
        Image.fromarray(image).save(folder / f"images/{number}.png")
    for kind in export.FILES:
        words = [str(folder / "segmenter"), "--out", str(folder / "exported"), "--format", kind]
        export.main([*words, "--images", str(folder / "images"), "--latency"])
    photograph((48, 70), 9).save(folder / "photo.jpg", quality=95)
    return folder


@pytest.mark.parametrize(
    "open_run, kind", [(export.open_onnx, "onnx"), (export.open_torch, "torch")]
)
def test_file_gives_the_segmenters_labels(
    exported: Path, open_run: Callable[[Path], export.Run], kind: str
) -> None:
    run = open_run(exported / "exported" / export.FILES[kind])
    segmenter = Segmenter.load(exported / "segmenter", "32-true")
    # a graph of torch.export takes no picture that is one pixel high after it is scaled down
    given = [image for image in images() if kind == "onnx" or min(image.shape[:2]) > 5]
    same = [(run(image) == segmenter(image)).ravel() for image in given]
    assert np.concatenate(same).mean() >= export.MIN_AGREEMENT


def test_onnx_gives_probabilities_and_tells_its_classes(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "exported/segmenter.onnx")
    [given], outputs = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)")
    assert [out.name for out in outputs] == ["probabilities", "labels"]
    image = images()[1]
    [probabilities] = session.run(["probabilities"], {"image": image})
    expected = tiny_segmenter(tree=SMALL, looks=True).segment(image).leaf_probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-4, rtol=0)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == {str(leaf.id): leaf.name for leaf in SMALL.leaves}
    for leaf, colour in json.loads(about["colours"]).items():
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
        labels = tiny_segmenter(tree=SMALL, looks=True)(np.asarray(photo))
    assert f"background: {(labels == 0).mean():.1%} of the picture" in answer.stdout
    if heading == "With ONNX Runtime":
        with Image.open(exported / "labels.png") as picture:
            assert (np.asarray(picture) == palette(SMALL)[labels]).all(2).mean() > 0.999


def test_an_export_that_says_something_else_is_not_kept(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export, "open_torch", lambda path: lambda image: image[..., 0])
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
    found = export.find_images([], tmp_path / "out")
    assert {path.stem for path in found} == set(folder.ids("val"))
    (tmp_path / "data/val_id.txt").unlink()
    with pytest.raises(ValueError, match="--images"):
        export.find_images([], tmp_path / "out")


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install -r requirements-export\.txt"):
        export.open_onnx(tmp_path / "a.onnx")
