"""Packing, reading what was packed, and the statistics of classes and of gray photographs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessing_stage import class_frequencies as frequencies
from preprocessing_stage import find_grayscale as grayscale
from preprocessing_stage import pack_samples
from preprocessing_stage.class_frequencies import class_frequencies
from preprocessing_stage.dataset.check_dataset import DatasetError, Pair
from preprocessing_stage.dataset.dataset_folder import read_image, read_labels
from preprocessing_stage.dataset.packed_samples import PackedSplit, SampleRow, sample_rows
from preprocessing_stage.dataset.shrink import shrink, shrunken_size
from preprocessing_stage.dataset.statistics import read_gray, read_pixels
from preprocessing_stage.find_grayscale import find_grayscale, gray_kind
from preprocessing_stage.pack_samples import pack, prepare


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def row(split: str, sample: str = "x", **values) -> SampleRow:
    values = {"pixels": {}, "chroma_max": 255, "chroma_p99": 255} | values
    return SampleRow(split, sample, (1, 1), (1, 1), **values)


# --- scaling down ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "longest_side", "expected"),
    [
        ((100, 50), 20, (20, 10)),
        ((50, 100), 20, (10, 20)),
        ((30, 20), 30, (30, 20)),
        ((30, 20), 31, (30, 20)),
        ((375, 500), 160, (120, 160)),
        ((1000, 1), 10, (10, 1)),
        ((64, 33), 32, (32, 17)),
        ((64, 35), 32, (32, 18)),
    ],
)
def test_shrunken_size_keeps_the_shape_and_enlarges_nothing(size, longest_side, expected):
    assert shrunken_size(size, longest_side) == expected
    assert shrink(np.zeros((*size, 3), np.uint8), longest_side).shape == (*expected, 3)


def test_shrink_leaves_small_images_alone():
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    assert shrink(image, 9) is image


def test_shrink_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    np.testing.assert_allclose(shrink(stripes, 16)[:, 1:-1], 127.5, atol=2)


# --- packing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_that_are_small_enough_come_back_as_they_were(split, folder, tree, tmp_path):
    pack(folder, tree, 32, tmp_path / "packed")
    packed = PackedSplit(split, tmp_path / "packed")
    assert [row.id for row in packed.rows] == folder.ids(split)
    assert len(packed) == len(folder.ids(split))
    for index, sample in enumerate(folder.ids(split)):
        image, labels = folder.image_path(sample), folder.label_path(sample)
        np.testing.assert_array_equal(packed.image(index), read_image(image))
        np.testing.assert_array_equal(packed.labels(index), read_labels(labels))


def test_larger_samples_are_scaled_down_and_counted_at_their_own_size(folder, tree, tmp_path):
    pack(folder, tree, 16, tmp_path / "packed")
    rows = sample_rows(tmp_path / "packed")
    assert [(row.split, row.id, row.size, row.own_size) for row in rows] == [
        ("train", "train_000", (12, 16), (24, 32)),
        ("train", "train_001", (16, 12), (32, 24)),
        ("train", "train_002", (12, 16), (24, 32)),
        ("train", "train_003", (16, 12), (32, 24)),
        ("val", "val_000", (12, 16), (24, 32)),
        ("val", "val_001", (16, 12), (32, 24)),
    ]
    for some in rows:
        labels = read_labels(folder.label_path(some.id))
        assert some.pixels == {i: np.count_nonzero(labels == i) for i in range(7)}


def test_label_maps_shrink_with_their_image_and_get_no_new_ids():
    labels = np.zeros((64, 48), np.uint8)
    labels[16:, 24:] = 6
    image = np.repeat((labels * 40)[..., None], 3, axis=2)
    sample = prepare(Pair("x", image, labels), 32)
    assert set(np.unique(sample.labels)) == {0, 6}
    np.testing.assert_array_equal(sample.image[..., 0] > 120, sample.labels == 6)


def test_packed_arrays_are_mapped_into_memory_and_read_only(folder, tree, tmp_path):
    pack(folder, tree, 32, tmp_path / "packed")
    split = PackedSplit("train", tmp_path / "packed")
    for array in (split.image(1), split.labels(1)):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("name", ["train.images.bin", "train.labels.bin"])
def test_packed_files_of_another_size_are_refused(name, folder, tree, tmp_path):
    pack(folder, tree, 32, tmp_path / "packed")
    path = tmp_path / "packed" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{name}: damaged since it was packed; pack again"):
        PackedSplit("train", tmp_path / "packed")


def test_a_damaged_data_set_leaves_the_old_pack_as_it_was(folder, tree, tmp_path):
    pack(folder, tree, 32, tmp_path / "packed")
    before = contents(tmp_path / "packed")
    folder.label_path("val_000").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 problem\n  gt_masks/val_000.png"):
        pack(folder, tree, 16, tmp_path / "packed")
    assert contents(tmp_path / "packed") == before
    assert not (tmp_path / "packed.part").exists()


def test_an_interrupted_pack_leaves_the_old_one_and_the_next_replaces_both(
    folder, tree, tmp_path, monkeypatch
):
    pack(folder, tree, 32, tmp_path / "packed")
    before = contents(tmp_path / "packed")

    def interrupt(pair: Pair, longest_side: int) -> pack_samples.Sample:
        if pair.id == "val_001":
            raise KeyboardInterrupt
        return prepare(pair, longest_side)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack_samples, "prepare", interrupt)
        pack(folder, tree, 16, tmp_path / "packed")
    assert contents(tmp_path / "packed") == before

    for name in ("packed", "packed.part"):
        (tmp_path / name / "old.bin").touch()
    pack(folder, tree, 16, tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "packed"]
    assert contents(tmp_path / "packed").keys() == before.keys()
    assert sample_rows(tmp_path / "packed")[0].size == (12, 16)


# --- classes -----------------------------------------------------------------------------------

PIXELS = ("background", "skull", "hoof", "shin", "rump", "hind_leg", "tail")


def counts(tree, *pixels: int) -> dict[int, int]:
    return {tree[name].id: count for name, count in zip(PIXELS, pixels, strict=True)}


def test_frequencies_of_every_level_are_those_counted_by_hand(deep_tree):
    rows = [
        row("train", pixels=counts(deep_tree, 50, 10, 5, 15, 0, 0, 20)),
        row("train", pixels=counts(deep_tree, 80, 0, 0, 0, 12, 8, 0)),
        row("val", pixels=counts(deep_tree, 10, 0, 0, 0, 0, 40, 0)),
    ]
    table = class_frequencies(rows, deep_tree)

    def figures(split: str, level: int) -> list[tuple]:
        some = [f for f in table if (f.split, f.level) == (split, level)]
        return [(f.name, f.pixels, f.pixel_share, f.images, f.image_share) for f in some]

    background = ("background", 130, 0.65, 2, 1.0)
    tail, skull = ("tail", 20, 0.1, 1, 0.5), ("skull", 10, 0.05, 1, 0.5)
    fore_leg, hind_leg = ("fore_leg", 20, 0.1, 1, 0.5), ("hind_leg", 8, 0.04, 1, 0.5)
    hoof, shin = ("hoof", 5, 0.025, 1, 0.5), ("shin", 15, 0.075, 1, 0.5)
    rump = ("rump", 12, 0.06, 1, 0.5)
    front, rear = ("front", 30, 0.15, 1, 0.5), ("rear", 20, 0.1, 1, 0.5)
    assert figures("train", 0) == [background, ("animal", 70, 0.35, 2, 1.0)]
    assert figures("train", 1) == [background, tail, front, rear]
    assert figures("train", 2) == [background, tail, skull, fore_leg, rump, hind_leg]
    assert figures("train", 3) == [background, tail, skull, hoof, shin, rump, hind_leg]
    absent, rear = [("tail", 0, 0, 0, 0), ("front", 0, 0, 0, 0)], ("rear", 40, 0.8, 1, 1.0)
    assert figures("val", 1) == [("background", 10, 0.2, 1, 1.0), *absent, rear]


def test_a_large_photograph_counts_no_more_than_training_sees_of_it(deep_tree):
    small = row("train", pixels=counts(deep_tree, 50, 10, 5, 15, 0, 0, 20))
    large = replace(small, own_size=(10 * small.size[0], 10 * small.size[1]))
    large = replace(large, pixels={leaf: 100 * count for leaf, count in small.pixels.items()})
    of_both = [
        class_frequencies([one, row("val", pixels=small.pixels)], deep_tree)
        for one in (small, large)
    ]
    assert of_both[0] == of_both[1]
    few = replace(large, pixels=counts(deep_tree, 9999, 1, 0, 0, 0, 0, 0))
    table = class_frequencies([few, row("val", pixels=small.pixels)], deep_tree)
    assert [f.pixels for f in table if (f.split, f.name) == ("train", "skull")] == [1, 1]


def test_ignored_pixels_count_in_no_share(folder, tree, tmp_path):
    labels = np.full((24, 32), 255, np.uint8)
    labels[0, :8] = [0, 0, 0, 0, 0, 2, 2, 3]
    for sample in folder.ids("train"):
        path = folder.label_path(sample)
        Image.fromarray(labels.reshape(read_labels(path).shape)).save(path)
    pack(folder, tree, 32, tmp_path / "packed")
    table = class_frequencies(sample_rows(tmp_path / "packed"), tree)
    shares = {f.name: f.pixel_share for f in table if f.split == "train"}
    inner = {name: shares[name] for name in ("background", "body", "upper_body", "lower_body")}
    assert inner == {"background": 5 / 8, "body": 3 / 8, "upper_body": 2 / 8, "lower_body": 1 / 8}


# --- gray photographs --------------------------------------------------------------------------


def chroma_of(coloured: int, chroma: int) -> tuple[int, int]:
    """Of a photograph of 100 pixels: `coloured` pixels of chroma 200, the rest of `chroma`."""
    image = np.full((10, 10, 3), 20, np.uint8)
    image[..., 1] += chroma
    image.reshape(100, 3)[:coloured, 1] = 220
    return prepare(Pair("x", image, np.zeros((10, 10), np.uint8)), 32).chroma


def test_chroma_is_the_maximum_and_what_99_percent_do_not_exceed():
    assert chroma_of(0, 0) == (0, 0)
    assert chroma_of(0, 5) == (5, 5)
    assert chroma_of(1, 5) == (200, 5)
    assert chroma_of(2, 5) == (200, 200)


@pytest.mark.parametrize(
    ("chroma", "kind"),
    [((0, 0), "exact"), ((1, 0), "near"), ((200, 11), "near"), ((200, 12), None)],
)
def test_near_gray_stays_below_the_threshold(chroma, kind):
    assert gray_kind(row("train", chroma_max=chroma[0], chroma_p99=chroma[1]), 12) == kind


def test_gray_samples_are_listed_and_their_shares_are_per_split():
    rows = [
        row("train", "a", chroma_max=0, chroma_p99=0),
        row("train", "b", chroma_max=90, chroma_p99=3),
        row("train", "c"),
        row("train", "d", chroma_max=0, chroma_p99=0),
        row("val", "e"),
        row("val", "f", chroma_max=8, chroma_p99=8),
    ]
    found, shares = find_grayscale(rows, 12)
    exact, near = [("train", i, "exact", 0) for i in "ad"], ("train", "b", "near", 3)
    assert found == [exact[0], near, exact[1], ("val", "f", "near", 8)]
    assert shares == {"train": {"exact": 0.5, "near": 0.25}, "val": {"exact": 0, "near": 0.5}}


# --- the entry points --------------------------------------------------------------------------


def test_the_stages_leave_what_training_reads(
    make_dataset, deep_tree, params_file, tmp_path, monkeypatch
):
    folder = make_dataset(tmp_path / "animals", tree=deep_tree)
    gray = folder.image_path("val_001")
    with Image.open(gray) as image:
        image.convert("L").save(gray)
    params_file(tmp_path, **{"tree": deep_tree.to_dict(), "data.folder": "animals"})
    monkeypatch.chdir(tmp_path)
    for stage in (pack_samples, frequencies, grayscale):
        stage.main()

    labels = np.concatenate(
        [read_labels(folder.label_path(i)).ravel() for i in folder.ids("train")]
    )
    pixels = read_pixels("train")
    assert pixels["tail"] == np.count_nonzero(labels == 200)
    assert pixels["front"] == np.count_nonzero(np.isin(labels, [17, 3, 90]))
    assert pixels["background"] + pixels["animal"] == labels.size
    assert read_gray() == {"val_001"}
    assert json.loads(Path("results/data/grayscale.json").read_text()) == {
        "train": {"exact": 0, "near": 0},
        "val": {"exact": 0.5, "near": 0},
    }
    with Image.open("results/data/class_frequencies.png") as figure:
        assert figure.width > figure.height  # four levels side by side


def test_packing_a_damaged_data_set_ends_with_its_problems(
    folder, params_file, tmp_path, monkeypatch
):
    folder.image_path("train_000").unlink()
    params_file(tmp_path, **{"data.folder": "data"})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="data set data: 1 problem\n  JPEGImages/train_000: no"):
        pack_samples.main()
