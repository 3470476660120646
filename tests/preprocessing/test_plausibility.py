"""Data sets that are whole and yet hardly what is meant: a sentence for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from damage import problems_of, relabel
from PIL import Image

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_labels, write_labels
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.pack_samples import pack

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
"""No warning of numpy reaches the user."""

TWO = ClassTree({"person": {"background": 0, "body": 1}})
OTHER_BACKGROUND = ClassTree({"person": {"hand": 0, "torso": 1, "Background": 2}})


def found(folder: DatasetFolder, tree: ClassTree, out: Path) -> str:
    return "\n".join(pack(folder, tree, 32, out))


def two_classes(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Label maps of a tree with two leaves, changed."""
    for split in ("train", "val"):
        relabel(folder, lambda labels: change((labels > 0).astype(np.uint8)), split)
    (folder / "classes.txt").write_text("0: background\n1: body\n")


def test_a_data_set_as_it_should_be_has_none(folder, tree, tmp_path):
    assert found(folder, tree, tmp_path / "packed") == ""


def test_an_id_with_its_ending_is_answered_with_the_file_that_is_there(folder, tree):
    listing = folder.path / "train_id.txt"
    listing.write_text(listing.read_text().replace("train_001", "train_001.jpg"))
    problems = problems_of(folder.path, tree)
    assert any("(there is train_001.jpg; an id is a file's name without its" in p for p in problems)


def test_masks_of_0_and_255_are_refused(folder, tmp_path):
    two_classes(folder.path, lambda body: body * np.uint8(255))
    [problem] = problems_of(folder.path, TWO)
    assert problem.startswith("train_id.txt: all pixels are 'background', none is 'body'; write")


def test_some_masks_of_0_and_255_are_named(folder, tmp_path):
    two_classes(folder.path, lambda body: body)
    name = folder.ids("train")[0]
    path = folder.label_path(name)
    write_labels(path, read_labels(path) * np.uint8(255), np.zeros((256, 3), np.uint8))
    text = found(DatasetFolder(folder.path), TWO, tmp_path / "packed")
    assert f"1 label map has nothing but 0 and 255 ({name}): 255 is ignored" in text


def test_much_that_is_ignored_is_told(folder, tree, tmp_path):
    def mostly(labels: np.ndarray) -> np.ndarray:
        labels = labels.copy()
        labels[labels == 0] = 255
        labels[0, 0] = 0
        return labels

    for split in ("train", "val"):
        relabel(folder.path, mostly, split)
    assert "of all pixels are 255, which is ignored" in found(folder, tree, tmp_path / "packed")


@pytest.mark.parametrize(("split", "verb"), [("train", "learnt"), ("val", "measured")])
def test_a_class_that_a_split_lacks_is_named(folder, tree, tmp_path, split, verb):
    relabel(folder.path, lambda labels: np.where(labels == 1, 2, labels).astype(np.uint8), split)
    text = found(folder, tree, tmp_path / "packed")
    assert f"no pixel of the {split} split is 'low_hand': it is never {verb}" in text


def test_a_background_of_another_id_is_asked_about(folder, tmp_path):
    swapped = np.array([2, 1, 0], np.uint8)
    two_classes(folder.path, lambda body: swapped[body])
    (folder.path / "classes.txt").write_text("0: hand\n1: torso\n2: Background\n")
    text = found(DatasetFolder(folder.path), OTHER_BACKGROUND, tmp_path / "packed")
    assert "'Background' has id 2: a background is left out of means only with id 0" in text


def test_a_class_at_the_edges_of_most_images_may_be_the_background(folder, tmp_path):
    tree = ClassTree({"person": {"hand": 0, "torso": 1, "wall": 2}})
    swapped = np.array([2, 1, 0], np.uint8)
    two_classes(folder.path, lambda body: swapped[body])
    (folder.path / "classes.txt").write_text("0: hand\n1: torso\n2: wall\n")
    text = found(DatasetFolder(folder.path), tree, tmp_path / "packed")
    assert (
        "'wall' (id 2) fills the edges of 6 of 6 images: if it is the background, give it" in text
    )


def test_a_label_map_that_was_a_jpeg_is_recognised(folder, tree):
    path = folder.label_path(folder.ids("train")[0])
    buffer = BytesIO()
    large = np.kron(read_labels(path), np.ones((13, 13), np.uint8)) * np.uint8(40)
    Image.fromarray(large).save(buffer, "JPEG", quality=40)
    was_jpeg = np.rint(np.asarray(Image.open(buffer)) / 40 * 3).astype(np.uint8)  # 0, 3, 6, ...
    write_labels(path, was_jpeg, np.zeros((256, 3), np.uint8))
    image = folder.image_path(path.stem)
    Image.open(image).resize(large.shape[::-1]).save(image)
    wider = ClassTree(
        {"person": {"background": 0, "body": {f"part {i}": 3 * i for i in range(1, 7)}}}
    )
    names = [f"{leaf.id}: {leaf.name}\n" for leaf in wider.leaves]
    (folder.path / "classes.txt").write_text("".join(names))
    found = problems_of(folder.path, wider)

    [problem] = [one for one in found if path.name in one]
    assert "that are not in the tree; they lie along edges only, as in label maps that" in problem


def test_a_class_of_thin_strips_is_asked_about(folder, tree, tmp_path):
    def outlines(labels: np.ndarray) -> np.ndarray:
        labels = np.where(labels == 4, 0, labels).astype(np.uint8)
        labels[3, :] = 4
        return labels

    for split in ("train", "val"):
        relabel(folder.path, outlines, split)
    text = found(folder, tree, tmp_path / "packed")
    assert "'head' lies in strips of one or two pixels only" in text


def test_palettes_that_disagree_are_told(folder, tree, tmp_path):
    path = folder.label_path(folder.ids("train")[0])
    write_labels(path, read_labels(path), np.full((256, 3), 7, np.uint8))
    text = found(folder, tree, tmp_path / "packed")
    assert "so that id 0 is #000000 in one and #070707 in another: values are taken as ids" in text


def test_colours_of_ids_that_do_not_occur_may_differ(folder, tree, tmp_path):
    path = folder.label_path(folder.ids("train")[0])
    colours = palette(tree)
    colours[99] = 255
    write_labels(path, read_labels(path), colours)
    assert found(folder, tree, tmp_path / "packed") == ""


def test_shares_that_differ_tenfold_between_splits_are_told(make_dataset, tree, tmp_path):
    folder = make_dataset(tmp_path / "data", train=20, val=20)
    assert found(folder, tree, tmp_path / "packed") == ""

    def few_heads(labels: np.ndarray) -> np.ndarray:
        heads = np.flatnonzero(labels == 4)
        labels.flat[heads[1:]] = 2
        return labels

    relabel(folder.path, few_heads, "val")
    text = found(DatasetFolder(folder.path), tree, tmp_path / "packed")
    assert re.search(
        r"'head' is \d+\.\d\d % of the train pixels and 0\.\d\d % of the val pixels: look", text
    )


def test_label_maps_that_are_jpegs_are_answered_with_the_remedy(folder, tree):
    path = folder.label_path(folder.ids("train")[0])
    Image.open(path).convert("L").save(path.with_suffix(".JPG"), "JPEG")
    path.unlink()
    [problem] = problems_of(folder.path, tree)
    assert "(there is train_000.JPG; JPEG changes ids, export label maps as PNG)" in problem


def test_a_label_map_of_the_stored_photograph_is_known_by_its_size(folder, tree):
    path = folder.image_path(folder.ids("train")[0])
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    [problem] = problems_of(folder.path, tree)
    assert "label map 32 x 24 fits the photograph as it is stored, which EXIF turns;" in problem
    assert problem.startswith("train_000") and problem.endswith("`--exif stored`")


def test_photographs_that_exif_turns_are_counted(folder, tree, tmp_path):
    path = folder.image_path(folder.ids("train")[0])
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 3
        image.save(path, exif=exif)
    text = found(folder, tree, tmp_path / "packed")
    assert "EXIF turns or mirrors 1 of 6 photographs" in text


def test_a_photograph_in_both_splits_is_named(folder, tree, tmp_path):
    train, val = folder.ids("train")[1], folder.ids("val")[1]
    for kind in (folder.image_path, folder.label_path):
        kind(val).write_bytes(kind(train).read_bytes())
    text = found(folder, tree, tmp_path / "packed")
    assert f"1 photograph is in both splits ({train} = {val}): take them out of one" in text
