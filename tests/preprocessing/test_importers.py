"""Importers: a small data set drawn in each form comes out as the same label maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_sources import Drawn
from import_runs import CLASSES, DRAWN, IDS, run
from PIL import Image

from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.converters.import_dataset import upright
from preprocessing_stage.converters.voc import read_voc_list
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.params import preprocessing_problems, read_yaml
from train_stage.params import train_problems

pytest.importorskip("pycocotools")

ROOT = Path(__file__).parents[2]
TREE = """
person:
  background: [background]
  body:
    head: [hat]
    rest: [Upper-clothes, 3]
"""


def expected(sample: str) -> np.ndarray:
    """background 0, head 1, rest 2."""
    return np.array([0, 1, 2, 2], np.uint8)[DRAWN.labels(sample)]


def check(out: Path, splits: dict[str, list[str]] | None = None) -> None:
    """The data set is whole, has the expected label maps, and its profile is valid."""
    folder = DatasetFolder(out)
    tree = ClassTree({"person": {"background": 0, "body": {"head": 1, "rest": 2}}})
    assert listing_problems(folder, tree) == []
    found = folder.ids("train") + folder.ids("val")
    assert sorted(found) == IDS
    if splits:
        assert {split: folder.ids(split) for split in splits} == splits
    for sample in found:
        label_path, image_path = folder.label_path(sample), folder.image_path(sample)
        np.testing.assert_array_equal(read_labels(label_path), expected(sample))
        assert read_image(image_path).shape[:2] == DRAWN.size
    own = read_yaml(out / f"{out.name}.yaml")
    params = merge_profile(read_yaml(ROOT / "params.yaml"), own, out)
    assert preprocessing_problems(params)[1] == train_problems(params)[1] == []
    assert params["tree"] == tree.to_dict()


@pytest.fixture
def tree_file(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TREE)
    return tmp_path / "tree.yaml"


def test_cvat_masks_in_colour(tmp_path: Path, tree_file: Path) -> None:
    DRAWN.cvat(tmp_path / "export")
    words = ["voc", tmp_path / "export", "--tree", tree_file, "--val-share", 0.25]
    run(*words, "--out", tmp_path / "out")
    check(tmp_path / "out")
    assert len(DatasetFolder(tmp_path / "out").ids("val")) == 1


def test_voc_lists_with_flags_and_endings(tmp_path: Path, tree_file: Path) -> None:
    source = tmp_path / "VOC"
    DRAWN.photographs(source / "JPEGImages")
    DRAWN.palette_masks(source / "SegmentationClass")
    lists = source / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a  1\nb.1.jpg  1\nc -1\n")
    (lists / "val.txt").write_text("c\r\nd.JPG\r\n")
    DRAWN.names(tmp_path / "names.txt")
    words = ["voc", source, "--classes", tmp_path / "names.txt", "--tree", tree_file]
    run(*words, "--out", tmp_path / "out")
    check(tmp_path / "out", {"train": ["a", "b.1"], "val": ["c", "d"]})


@pytest.mark.parametrize(
    ("lists", "val"),
    [
        ({"train": IDS[:2], "test": IDS[2:]}, IDS[2:]),
        ({"train": IDS[:2], "Validation": IDS[2:3], "test": IDS[3:], "trainval": IDS}, IDS[2:3]),
    ],
)
def test_test_of_a_voc_tree_is_val_where_there_is_no_other(
    tmp_path: Path, lists: dict[str, list[str]], val: list[str]
) -> None:
    DRAWN.cvat(tmp_path / "export")
    for name, ids in lists.items():
        path = tmp_path / f"export/ImageSets/Segmentation/{name}.txt"
        path.write_text("\n".join(ids))
    run("voc", tmp_path / "export", "--out", tmp_path / "out")
    folder = DatasetFolder(tmp_path / "out")
    assert folder.ids("train") == IDS[:2] and folder.ids("val") == val


def test_folders_below_become_part_of_the_ids(tmp_path: Path, tree_file: Path) -> None:
    """As CVAT exports a task whose images lie in folders."""
    DRAWN.cvat(tmp_path / "export")
    for kind in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "export" / kind / "day 1").mkdir()
        for path in (tmp_path / "export" / kind).glob("[ab]*"):
            path.rename(path.parent / "day 1" / path.name)
    lists = tmp_path / "export/ImageSets/Segmentation"
    (lists / "train.txt").write_text("day 1/a\nday 1/b.1.png\n")
    (lists / "val.txt").write_text("c\nelsewhere/d.JPG\n")
    run("voc", tmp_path / "export", "--tree", tree_file, "--out", tmp_path / "out")
    folder = DatasetFolder(tmp_path / "out")
    assert folder.ids("train") == ["day 1_a", "day 1_b.1"] and folder.ids("val") == ["c", "d"]
    path = folder.label_path("day 1_a")
    assert path
    np.testing.assert_array_equal(read_labels(path), expected("a"))


@pytest.mark.parametrize("rle", [False, True], ids=["polygons", "rle"])
def test_coco_instances(tmp_path: Path, tree_file: Path, rle: bool) -> None:
    DRAWN.photographs(tmp_path / "photos")
    for split, ids in (("train", IDS[:2]), ("val", IDS[2:])):
        DRAWN.coco(tmp_path / f"{split}.json", ids, rle=rle)
    words = ["coco", tmp_path / "train.json", "--val-instances", tmp_path / "val.json"]
    run(*words, "--images", tmp_path / "photos", "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out", {"train": IDS[:2], "val": IDS[2:]})


def test_coco_categories_may_begin_at_0(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "photos")
    DRAWN.coco(tmp_path / "all.json", IDS)
    content = json.loads((tmp_path / "all.json").read_text())
    for one in content["categories"]:
        one["id"] -= 1
    for one in content["annotations"]:
        one["category_id"] -= 1
    (tmp_path / "from_0.json").write_text(json.dumps(content))
    for name in ("all", "from_0"):
        words = ["coco", tmp_path / f"{name}.json", "--images", tmp_path / "photos"]
        run(*words, "--out", tmp_path / name)
    for sample in IDS:
        names = []
        for name in ("all", "from_0"):
            folder = DatasetFolder(tmp_path / name)
            classes = np.array([folder.class_names().get(i, "") for i in range(256)])
            names.append(classes[read_labels(folder.label_path(sample))])
        np.testing.assert_array_equal(*names)


def test_numbers_at_the_end_of_ids_are_no_flags(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("frame 1\nframe 2\nframe 3 1\nframe 4 -1\n")
    known = {f"frame {i}" for i in range(1, 5)}
    assert read_voc_list(tmp_path / "list.txt", known) == ["frame 1", "frame 2", "frame 3"]


def test_labelme_polygons_rectangles_and_masks(tmp_path: Path, tree_file: Path) -> None:
    DRAWN.labelme(tmp_path / "labelme")
    run("labelme", tmp_path / "labelme", "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out")


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_id_maps_of_any_depth(tmp_path: Path, tree_file: Path, bits: int) -> None:
    DRAWN.photographs(tmp_path / "images", ".JPG")
    kind = {8: np.uint8, 16: np.uint16, 32: np.int32}[bits]
    DRAWN.id_masks(tmp_path / "masks", kind, "tif" if bits == 32 else "png")
    (tmp_path / "names.txt").write_text("".join(f"{i}: {n}\n" for i, n in enumerate(CLASSES)))
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--classes", tmp_path / "names.txt"]
    run(*words, "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out")


def test_a_folder_for_each_split(tmp_path: Path, tree_file: Path) -> None:
    DRAWN.names(tmp_path / "names.txt")
    words: list[object] = ["masks"]
    for split, ids in (("train", IDS[:2]), ("val", IDS[2:])):
        drawn = Drawn(CLASSES, ids)
        drawn.photographs(tmp_path / f"{split}_images")
        drawn.id_masks(tmp_path / f"{split}_segmentations")
        words += ["--val-images"] if split == "val" else []
        words += [tmp_path / f"{split}_images"]
        words += ["--val-masks"] if split == "val" else []
        words += [tmp_path / f"{split}_segmentations"]
    words += ["--classes", tmp_path / "names.txt", "--tree", tree_file]
    run(*words, "--out", tmp_path / "out")
    check(tmp_path / "out", {"train": IDS[:2], "val": IDS[2:]})


def test_ids_of_another_photograph_in_each_split_begin_with_the_split(tmp_path: Path) -> None:
    DRAWN.names(tmp_path / "names.txt")
    for split, ids in (("train", ["a", "b"]), ("val", ["b", "c"])):
        Drawn(CLASSES, ids).photographs(tmp_path / split)
        Drawn(CLASSES, ids).id_masks(tmp_path / f"{split}_masks")
    words = ["masks", tmp_path / "train", tmp_path / "train_masks", "--val-images"]
    words += [tmp_path / "val", "--val-masks", tmp_path / "val_masks"]
    run(*words, "--classes", tmp_path / "names.txt", "--out", tmp_path / "out")
    folder = DatasetFolder(tmp_path / "out")
    assert folder.ids("train") == ["a", "train_b"] and folder.ids("val") == ["val_b", "c"]


@pytest.mark.parametrize("kind", ["RGB", "palettes that disagree"])
def test_colours_without_names_are_the_classes(tmp_path: Path, tree_file: Path, kind: str) -> None:
    DRAWN.photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    for sample in IDS:
        mask = DRAWN.colour_mask(sample)
        if kind != "RGB":  # a palette in the order of the bands, which no two samples share
            order = list(dict.fromkeys(DRAWN.labels(sample)[:, 0].tolist()))
            mask = Image.fromarray(np.argsort(order).astype(np.uint8)[DRAWN.labels(sample)])
            mask.putpalette(np.array(DRAWN.colours, np.uint8)[order].tobytes())
        mask.save(tmp_path / f"masks/{sample}.png")
    hexed = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in DRAWN.colours]
    tree_file.write_text(
        f"person:\n  background: '{hexed[0]}'\n  body:\n    head: '{hexed[1]}'\n"
        f"    rest: ['{hexed[2].upper()}', '{hexed[3]}']\n"
    )
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--tree", tree_file]
    run(*words, "--out", tmp_path / "out")
    check(tmp_path / "out")


def test_left_and_right_change_places_in_the_profile(tmp_path: Path) -> None:
    sided = Drawn(["background", "left arm", "right arm", "left_leg", "right_leg"], IDS)
    sided.cvat(tmp_path / "export")
    (tmp_path / "tree.yaml").write_text(
        "person:\n  background: background\n  arms: {left arm: left arm, right arm: right arm}\n"
        "  left: {left_leg: left_leg, x: []}\n  right: {right_leg: right_leg, y: []}\n"
    )
    words = ["voc", tmp_path / "export", "--tree", tmp_path / "tree.yaml"]
    run(*words, "--out", tmp_path / "out")
    swap = read_yaml(tmp_path / "out/out.yaml")["swap"]
    assert swap == [["left arm", "right arm"]], "legs of two experts cannot"


def test_classes_are_shown_before_a_tree_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DRAWN.photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    Image.fromarray(DRAWN.labels("a")).save(tmp_path / "masks/a.png")
    run("masks", tmp_path / "images", tmp_path / "masks", "--classes", "lip", "--show")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0: background" and lines[14] == "14: left_arm" and len(lines) == 20


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_masks_of_stored_photographs_are_turned_with_them(tmp_path: Path, orientation: int) -> None:
    labels = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)
    image = Image.fromarray(np.repeat(labels[..., None], 3, axis=2))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    turned = upright(labels, tmp_path / "a.png", masks_are_stored=True)
    np.testing.assert_array_equal(turned, read_image(tmp_path / "a.png")[..., 0])
    if orientation != 3:
        with pytest.raises(ValueError, match=f"EXIF orientation {orientation}.*--exif stored"):
            upright(labels, tmp_path / "a.png", masks_are_stored=False)
        with pytest.raises(ValueError, match=r"has 6 x 8 pixels, as a\.png is shown.*--exif shown"):
            upright(labels.T, tmp_path / "a.png", masks_are_stored=True)
        with pytest.raises(ValueError, match=r"has 6 x 3 pixels, a\.png 8 x 6; make them equal"):
            upright(labels[:3, :6], tmp_path / "a.png", masks_are_stored=True)
