"""What a segmenter may be called with, and what it answers to anything else."""

import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from drawn_files import gray16, photograph, swapped_profile, transparent
from PIL import Image
from segmenter_fixtures import PEOPLE, make_segmenter, random_image

from final_model_stage.chain.image_input import to_rgb
from final_model_stage.segmentation import Segmentation, Segmenter
from preprocessing_stage.dataset.class_tree import ClassTree


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 3), np.float32),
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_of_bytes_is_refused(image):
    shape = str(image.shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=f"image is {image.dtype} {shape}, needs RGB, uint8"):
        make_segmenter()(image)


def test_a_path_a_pil_image_and_an_array_give_the_same(tmp_path):
    segmenter, image = make_segmenter(), random_image(3, (20, 30))
    Image.fromarray(image).save(tmp_path / "a.png")
    expected = segmenter(image)
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image)):
        np.testing.assert_array_equal(segmenter(same), expected)
        np.testing.assert_array_equal(segmenter.segment(same).labels, expected)


@pytest.mark.parametrize("image", [gray16(), photograph(), transparent()])
def test_a_pil_image_is_what_its_file_is(tmp_path, image):
    path = tmp_path / "a.png"
    own = swapped_profile() if image.mode == "RGB" else None
    image.save(path, icc_profile=own)
    with Image.open(path) as image:
        np.testing.assert_array_equal(to_rgb(image)[0], to_rgb(path)[0])


def test_a_pil_image_of_integers_has_8_bits_if_they_fit():
    gray = np.asarray(photograph().convert("L"))
    found = to_rgb(Image.fromarray(gray.astype(np.int32)))[0]
    np.testing.assert_array_equal(found[..., 1], gray)


def test_a_damaged_pil_image_is_refused_as_its_file_is(tmp_path):
    photograph().save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-2000])
    with Image.open(tmp_path / "a.png") as image:
        for given in (image, tmp_path / "a.png"):
            with pytest.raises(ValueError, match="damaged or unsupported: image file is trunc"):
                make_segmenter()(given)


def test_a_pil_image_with_damaged_exif_is_taken_as_its_file_is(tmp_path):
    photograph().save(tmp_path / "a.png", exif=b"Exif\0\0no TIFF at all")
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(make_segmenter()(image), make_segmenter()(tmp_path / "a.png"))


def test_a_turned_and_a_large_file_have_the_size_that_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_image(0, (20, 30))).save(tmp_path / "turned.jpg", exif=exif)
    assert make_segmenter()(tmp_path / "turned.jpg").shape == (30, 20)
    Image.new("RGB", (4200, 10)).save(tmp_path / "long.png")
    assert make_segmenter()(tmp_path / "long.png").shape == (10, 4200)


@pytest.mark.parametrize("image", [b"jpeg", [[1, 2], [3, 4]], None, 7])
def test_anything_else_is_refused_in_a_sentence(image):
    kind = type(image).__name__
    with pytest.raises(TypeError, match=f"image is a {kind}; give an RGB array .*, a PIL image"):
        make_segmenter()(image)


@pytest.mark.parametrize("level", [-1, 3])
def test_a_level_that_the_tree_lacks_has_no_probabilities(level):
    with pytest.raises(ValueError, match=f"level is {level}; the tree has levels 0 to 2"):
        make_segmenter().segment(random_image()).probabilities(level)


def test_uncertainty_is_the_entropy_over_its_maximum():
    """Of five leaves; where one has all probability it is 0, where they are alike it is 1."""
    cases = {
        (1, 0, 0, 0, 0): 0,
        (0.5, 0.5, 0, 0, 0): np.log(2) / np.log(5),
        (0.5, 0.25, 0.25, 0, 0): 1.5 * np.log(2) / np.log(5),
        (0.2, 0.2, 0.2, 0.2, 0.2): 1,
    }
    shares = np.array([*cases], np.float32).T[:, None]
    found = Segmentation(np.zeros((1, 4), np.uint8), shares, ClassTree(PEOPLE)).uncertainty
    np.testing.assert_allclose(found, [[*cases.values()]], atol=1e-6)


def test_the_probability_of_a_class_is_the_sum_of_its_leaves():
    """Leaves in the order of their ids: background, hand, foot, head, knee."""
    shares = np.array([0.1, 0.2, 0.3, 0.15, 0.25], np.float32).reshape(5, 1, 1)
    found = Segmentation(np.zeros((1, 1), np.uint8), shares, ClassTree(PEOPLE))
    assert found.probability("upper").item() == pytest.approx(0.35)
    level = {name: value.item() for name, value in found.probabilities(1).items()}
    assert level == pytest.approx({"upper": 0.35, "lower": 0.55})


def test_a_forked_process_is_told_instead_of_waiting_for_ever(monkeypatch):
    segmenter = make_segmenter()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(RuntimeError, match="forked after the segmenter was loaded"):
        segmenter(random_image())


def test_a_spawned_process_predicts_and_a_forked_one_is_told(monkeypatch):
    segmenter = make_segmenter()
    expected = segmenter(random_image())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        np.testing.assert_array_equal(pool.submit(segmenter, random_image()).result(), expected)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(RuntimeError, match="forked after the segmenter was loaded"):
        pickle.loads(pickle.dumps(segmenter))(random_image())


def test_an_unknown_precision_is_refused_whatever_would_run(tmp_path):
    make_segmenter().save(tmp_path / "segmenter")
    with pytest.raises(ValueError, match="precision 'bf16' is unknown; take one of auto, 32-true"):
        Segmenter.load(tmp_path / "segmenter", "bf16")
