"""A data set folder: what is read from it. What is refused: test_damaged_*.py."""

from __future__ import annotations

import numpy as np
import pytest
from damage import label_map, photograph
from drawn_files import swapped_profile
from PIL import Image

from final_model_stage.image_reader import decode_image
from preprocessing_stage.dataset.check_dataset import read_pair, read_pairs
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.dataset_folder import (
    DatasetFolder,
    exif_orientation,
    read_image,
    read_labels,
)


def test_an_undamaged_folder_has_no_problem(folder, tree):
    assert listing_problems(folder, tree) == []


def test_a_file_that_is_not_there_is_named_with_the_endings_it_may_have(folder):
    with pytest.raises(FileNotFoundError, match=r"JPEGImages/gone: no file .* \.jpg \.jpeg \.png$"):
        folder.image_path("gone")
    with pytest.raises(FileNotFoundError, match=r"gt_masks/gone: no file .* \.png \.npy$"):
        folder.label_path("gone")


@pytest.mark.parametrize(
    "text",
    [
        b"a\r\nb c\r\n",
        b"\xef\xbb\xbfa\nb c\n",
        b"\xef\xbb\xbfa\r\nb c",
        b"a\nb c",
        b"\n  a  \n\n\tb c\n\n",
        b"a\rb c\r",
    ],
)
def test_ids_are_read_whatever_the_line_ends_the_bom_and_the_blanks(text, tmp_path):
    (tmp_path / "train_id.txt").write_bytes(text)
    assert DatasetFolder(tmp_path).ids("train") == ["a", "b c"]


def test_class_names_are_read_with_crlf_and_bom(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbf0: bg\r\n\r\n 12 :leg\r\n")
    assert DatasetFolder(tmp_path).class_names() == {0: "bg", 12: "leg"}


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png"])
def test_photographs_may_be_jpeg_or_png(suffix, folder, tree):
    old = photograph(folder.path)
    expected = read_image(old)
    with Image.open(old) as image:
        image.load()
    new = old.rename(old.with_suffix(suffix))
    if suffix == ".png":
        image.save(new)
    pair = read_pair(DatasetFolder(folder.path), "train_000", tree)
    np.testing.assert_array_equal(pair.image, expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_label_map_in_npy_is_the_one_in_png(order, folder, tree):
    expected = read_labels(label_map(folder.path))
    png = label_map(folder.path)
    np.save(png.with_suffix(".npy"), np.array(expected, order=order))
    png.unlink()
    pair = read_pair(DatasetFolder(folder.path), "train_000", tree)
    np.testing.assert_array_equal(pair.labels, expected)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_label_maps_hold_ids_as_palette_or_gray(mode, tmp_path):
    ids = np.array([[0, 6, 255], [3, 3, 1]], np.uint8)
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette([200] * 768)
    image.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as saved:
        assert saved.mode == mode
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png"), ids)


def test_photographs_are_turned_as_exif_says_and_label_maps_fit_the_turned_one(folder, tree):
    path = photograph(folder.path)
    upright = np.zeros((32, 24, 3), np.uint8)
    upright[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    Image.fromarray(np.rot90(upright)).save(path, exif=exif, quality=100)
    labels = np.zeros((32, 24), np.uint8)
    labels[:8] = 4
    Image.fromarray(labels).save(label_map(folder.path))
    pair = read_pair(folder, "train_000", tree)
    np.testing.assert_array_equal(pair.image[..., 1] > 127, pair.labels == 4)


@pytest.mark.parametrize(("value", "kind"), [(0, 3), (9, 3), (6, 1), (6, 2), (6, 7)])
def test_an_exif_orientation_that_means_nothing_is_upright(value, kind, tmp_path):
    """kind: TIFF's number for its type, 3 where it should be: bytes, text and others happen."""
    path = tmp_path / "odd.jpg"
    exif = Image.Exif()
    exif[0x0112] = value
    Image.new("RGB", (4, 2)).save(path, exif=exif)
    content = path.read_bytes()
    assert content.count(b"\x01\x12\x00\x03") == 1
    path.write_bytes(content.replace(b"\x01\x12\x00\x03", b"\x01\x12\x00%c" % kind))
    assert exif_orientation(path) == 1
    assert read_image(path).shape == (2, 4, 3)


def test_colours_are_those_that_prediction_reads(tmp_path):
    path = tmp_path / "swapped.png"
    Image.new("RGB", (4, 2), (200, 30, 30)).save(path, icc_profile=swapped_profile())
    read = read_image(path)
    assert read[0, 0, 2] > 150 > read[0, 0, 0]
    np.testing.assert_array_equal(read, decode_image(path).image)


def test_gray_and_transparent_photographs_become_rgb(tmp_path):
    Image.fromarray(np.full((2, 3), 7, np.uint8)).save(tmp_path / "gray.png")
    Image.fromarray(np.full((2, 3, 4), (9, 9, 9, 0), np.uint8)).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "gray.png").tolist() == np.full((2, 3, 3), 7).tolist()
    assert read_image(tmp_path / "clear.png").tolist() == np.full((2, 3, 3), 255).tolist()


def test_pairs_come_in_the_order_of_the_ids_with_problems_among_them(folder, tree):
    photograph(folder.path, "train_001").write_bytes(b"")
    ids = ["val_000", "train_001", "train_000"] * 20
    found = list(read_pairs(folder, ids, tree, lambda pair: pair.id))
    assert [name if name in ids else "broken" for name in found] == [
        "val_000",
        "broken",
        "train_000",
    ] * 20
