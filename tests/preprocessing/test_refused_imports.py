"""Data that importers refuse, each with what is wrong and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from import_runs import DRAWN, IDS, run
from PIL import Image

from preprocessing_stage.converters.masks import read_class_names
from preprocessing_stage.dataset.dataset_folder import DatasetFolder

pytest.importorskip("pycocotools")


def test_two_masks_of_one_photograph_are_refused(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    DRAWN.id_masks(tmp_path / "masks")
    np.save(tmp_path / "masks/a.npy", DRAWN.labels("a"))
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--classes", "lip"]
    with pytest.raises(SystemExit, match="'a' is in the source 2 times"):
        run(*words, "--out", tmp_path / "out")


def test_photographs_of_both_splits_are_refused(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    DRAWN.id_masks(tmp_path / "masks")
    folders = [tmp_path / "images", tmp_path / "masks"]
    words = ["masks", *folders, "--val-images", folders[0], "--val-masks", folders[1]]
    with pytest.raises(SystemExit, match="'a' is in the source 2 times; keep one"):
        run(*words, "--classes", "lip", "--out", tmp_path / "out")


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_coco_ids_that_stand_twice_are_refused(tmp_path: Path, key: str) -> None:
    DRAWN.photographs(tmp_path / "photos")
    DRAWN.coco(tmp_path / "all.json", IDS)
    content = json.loads((tmp_path / "all.json").read_text())
    content[key][1]["id"] = content[key][0]["id"]
    (tmp_path / "all.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=f"all.json: some {key} have the same id"):
        run("coco", tmp_path / "all.json", "--images", tmp_path / "photos", "--show")


def test_keys_that_a_coco_file_lacks_are_all_named(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "photos")
    DRAWN.coco(tmp_path / "all.json", IDS)
    content = json.loads((tmp_path / "all.json").read_text())
    del content["images"][0]["file_name"]
    content["annotations"][2]["image_id"] = "3"
    (tmp_path / "all.json").write_text(json.dumps(content))
    with pytest.raises(SystemExit) as refused:
        run("coco", tmp_path / "all.json", "--images", tmp_path / "photos", "--show")
    _, *lines = str(refused.value).splitlines()
    assert lines[0].startswith("  all.json.images.0.file_name: Field required, got {")
    assert lines[1:] == [
        "  all.json.annotations.2.image_id: Input should be a valid integer, got '3'"
    ]


def test_values_of_labelme_that_are_none_are_all_named(tmp_path: Path) -> None:
    DRAWN.labelme(tmp_path)
    for sample, key, value in (("a", "imagePath", None), ("c", "shapes", None), ("d", "label", 1)):
        content = json.loads((tmp_path / f"{sample}.json").read_text())
        (content["shapes"][1] if key == "label" else content)[key] = value
        (tmp_path / f"{sample}.json").write_text(json.dumps(content))
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(SystemExit) as refused:
        run("labelme", tmp_path, "--show")
    _, *lines = str(refused.value).splitlines()
    assert lines[:3] == [
        "  a.json.imagePath: Input should be a valid string, got None",
        "  c.json.shapes: Input should be a valid list, got None",
        "  d.json.shapes.1.label: Input should be a valid string, got 1",
    ]
    assert lines[3].startswith("  e.json: no JSON: ") and len(lines) == 4


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    DRAWN.id_masks(tmp_path / "masks")
    DRAWN.labelmap(tmp_path / "labelmap.txt")
    (tmp_path / "twice.txt").write_text("0: background\n1: hat\n1: hair\n")
    (tmp_path / "train.txt").write_text(f"{IDS[0]}\n{IDS[0]}\n")
    (tmp_path / "val.txt").write_text(f"{IDS[1]}\n")
    DRAWN.names(tmp_path / "names.txt")
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--out", tmp_path / "out"]
    names = ["--classes", tmp_path / "names.txt"]
    lists = ["--train-ids", tmp_path / "train.txt", "--val-ids", tmp_path / "val.txt"]
    for more, problem in (
        (["--classes", tmp_path / "twice.txt"], "id 1 is hat and hair; keep one"),
        ([*names, "--labelmap", tmp_path / "labelmap.txt"], "give one"),
        ([*names, *lists], f"train: lists '{IDS[0]}' 2 times"),
        ([*names, "--val-share", 20], "--val-share 20: is no share between 0 and 1"),
    ):
        with pytest.raises(SystemExit, match=problem):
            run(*words, *more)
    assert not (tmp_path / "out").exists()


def test_ids_and_names_that_stand_twice_in_a_list_of_classes_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "euros.txt").write_text("0 background\n1 euro\n2 euro\n3 coin\n3 note\n")
    with pytest.raises(ValueError, match=r"euros\.txt:") as refused:
        read_class_names(str(tmp_path / "euros.txt"))
    assert str(refused.value).splitlines()[1:] == [
        "  id 3 is coin and note; keep one",
        "  euro has the ids 1, 2; give each class a name of its own, and all lines an id if the "
        "number is part of the name, as in `0: 1 euro`",
    ]
    (tmp_path / "names.txt").write_text("background\nhat\nhat\n")
    with pytest.raises(ValueError, match=r"hat has the ids 1, 2; .* name of its own$"):
        read_class_names(str(tmp_path / "names.txt"))


def test_one_list_of_a_voc_tree_needs_the_other_split(tmp_path: Path) -> None:
    DRAWN.cvat(tmp_path / "export")
    train = tmp_path / "export/ImageSets/Segmentation/train.txt"
    train.write_text("\n".join(IDS[:2]))
    (tmp_path / "rest.txt").write_text("\n".join(IDS[2:]))
    words = ["voc", tmp_path / "export", "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match="lists samples for train alone; give --train-ids and"):
        run(*words)
    run(*words, "--train-ids", train, "--val-ids", tmp_path / "rest.txt")
    assert DatasetFolder(tmp_path / "out").ids("val") == IDS[2:]


def test_listed_samples_of_a_voc_tree_need_a_mask(tmp_path: Path) -> None:
    DRAWN.cvat(tmp_path)
    for name, ids in (("train", [*IDS[:2], "e"]), ("val", [*IDS[2:], "f"])):
        (tmp_path / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(ids))
    with pytest.raises(SystemExit) as refused:
        run("voc", tmp_path, "--out", tmp_path / "out")
    for words in ("train: the source has no sample 'e'; add its mask", "val: the source has no"):
        assert words in str(refused.value)


def test_masks_without_a_photograph_are_all_named(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    DRAWN.id_masks(tmp_path / "masks")
    (tmp_path / "images/a.jpg").unlink()
    (tmp_path / "images/c.jpg").unlink()
    (tmp_path / "images/d.JPEG").touch()
    with pytest.raises(SystemExit) as refused:
        run("masks", tmp_path / "images", tmp_path / "masks", "--classes", "lip", "--show")
    assert all(f"has no {name}.jpg" in str(refused.value) for name in "ac")
    assert "has d.JPEG, d.jpg; keep one" in str(refused.value)


def test_colours_need_names(tmp_path: Path) -> None:
    DRAWN.cvat(tmp_path)
    words = ["masks", tmp_path / "JPEGImages", tmp_path / "SegmentationClass"]
    with pytest.raises(SystemExit, match="give --tree or --labelmap"):
        run(*words, "--out", tmp_path / "out")


def test_masks_without_names_for_their_ids_are_refused(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    DRAWN.id_masks(tmp_path / "masks")
    with pytest.raises(SystemExit, match=r"a\.png: holds ids; give --classes"):
        run("masks", tmp_path / "images", tmp_path / "masks", "--show")


def test_a_mask_once_saved_as_jpeg_is_refused_with_what_to_do(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "JPEGImages", ".JPG")
    (tmp_path / "SegmentationClass").mkdir()
    for sample in IDS:
        with Image.open(tmp_path / "JPEGImages" / f"{sample}.JPG") as picture:
            picture.save(tmp_path / "SegmentationClass" / f"{sample}.png")
    DRAWN.labelmap(tmp_path / "labelmap.txt")
    with pytest.raises(SystemExit, match=r"a: \d+ colours are not in labelmap\.txt.*JPEG"):
        run("voc", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_beside_the_new_one_stay_and_a_refused_import_leaves_none(tmp_path: Path) -> None:
    DRAWN.cvat(tmp_path / "export")
    (tmp_path / "new/out.part").mkdir(parents=True)
    (tmp_path / "new/out.part/mine").touch()
    run("voc", tmp_path / "export", "--out", tmp_path / "new/out")
    assert (tmp_path / "new/out").stat().st_mode == (tmp_path / "new").stat().st_mode
    shutil.rmtree(tmp_path / "new/out")
    (tmp_path / "export/JPEGImages/a.JPG").write_text("no picture")
    with pytest.raises(SystemExit, match="a: cannot identify image file"):
        run("voc", tmp_path / "export", "--out", tmp_path / "new/out")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.part"]
    assert (tmp_path / "new/out.part/mine").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    DRAWN.photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    Image.fromarray(DRAWN.labels("a")).save(tmp_path / "masks/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--classes", "atr"]
    with pytest.raises(SystemExit, match="out: exists; remove it or choose another folder"):
        run(*words, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
