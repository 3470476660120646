"""Importers: a small data set drawn in each form comes out as the same label maps."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.converters import __main__ as importer
from preprocessing_stage.converters.class_mapping import MappingError, make_mapping
from preprocessing_stage.converters.import_dataset import upright
from preprocessing_stage.dataset.check_dataset import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.params import preprocessing_problems, read_yaml
from train_stage.params import train_problems

pycocotools = pytest.importorskip("pycocotools.mask")

ROOT = Path(__file__).parents[2]
SIZE = (24, 32)
CLASSES = ["background", "hat", "Upper-clothes", "left leg"]
COLOURS = [(0, 0, 0), (255, 0, 0), (0, 200, 0), (10, 20, 250)]
TREE = """
person:
  background: [background]
  body:
    head: [hat]
    rest: [Upper-clothes, 3]
"""
IDS = ["a", "b.1", "c", "d"]


def source_labels(sample: str) -> np.ndarray:
    """Bands of the four classes, (H, W) uint8; another order for each sample."""
    order = np.random.default_rng(len(sample) + ord(sample[0])).permutation(4)
    return np.repeat(np.repeat(order, 6)[:, None], SIZE[1], axis=1).astype(np.uint8)


def expected(sample: str) -> np.ndarray:
    """background 0, head 1, rest 2."""
    return np.array([0, 1, 2, 2], np.uint8)[source_labels(sample)]


def draw_photographs(folder: Path, suffix: str = ".JPG") -> None:
    folder.mkdir(parents=True)
    for sample in IDS:
        pixels = np.array(COLOURS, np.uint8)[source_labels(sample)]
        Image.fromarray(pixels).save(folder / f"{sample}{suffix}", "JPEG")


def run(*words: str | Path) -> None:
    importer.main([str(word) for word in words])


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
        assert label_path and image_path
        np.testing.assert_array_equal(read_labels(label_path), expected(sample))
        assert read_image(image_path).shape[:2] == SIZE
    params = merge_profile(read_yaml(ROOT / "params.yaml"), read_yaml(out / "profile.yaml"), out)
    assert preprocessing_problems(params)[1] == train_problems(params)[1] == []
    assert params["tree"] == tree.to_dict()


@pytest.fixture
def tree_file(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TREE)
    return tmp_path / "tree.yaml"


def write_labelmap(path: Path) -> None:
    lines = [f"{name}:{','.join(map(str, c))}::" for name, c in zip(CLASSES, COLOURS, strict=True)]
    path.write_text("\n".join(["# label:color_rgb:parts:actions", *lines]), encoding="utf-8-sig")


def test_cvat_masks_in_colour(tmp_path: Path, tree_file: Path) -> None:
    source = tmp_path / "export"
    draw_photographs(source / "JPEGImages")
    (source / "SegmentationClass").mkdir()
    for sample in IDS:
        pixels = np.array(COLOURS, np.uint8)[source_labels(sample)]
        Image.fromarray(pixels).save(source / "SegmentationClass" / f"{sample}.png")
    write_labelmap(source / "labelmap.txt")
    run("voc", source, "--out", tmp_path / "out", "--tree", tree_file, "--val-share", 0.25)
    check(tmp_path / "out")
    assert len(DatasetFolder(tmp_path / "out").ids("val")) == 1


def test_voc_lists_with_flags_and_endings(tmp_path: Path, tree_file: Path) -> None:
    source = tmp_path / "VOC"
    draw_photographs(source / "JPEGImages", ".jpg")
    (source / "SegmentationClass").mkdir()
    for sample in IDS:
        labels = source_labels(sample)
        picture = Image.fromarray(labels)
        picture.putpalette(np.array(COLOURS, np.uint8).tobytes())
        picture.save(source / "SegmentationClass" / f"{sample}.png")
    lists = source / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a  1\nb.1.jpg  1\nc -1\n")
    (lists / "val.txt").write_text("c\r\nd.JPG\r\n")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    words = ["voc", source, "--classes", tmp_path / "names.txt", "--tree", tree_file]
    run(*words, "--out", tmp_path / "out")
    check(tmp_path / "out", {"train": ["a", "b.1"], "val": ["c", "d"]})


@pytest.mark.parametrize("kind", ["polygons", "rle"])
def test_coco_instances(tmp_path: Path, tree_file: Path, kind: str) -> None:
    draw_photographs(tmp_path / "photos", ".jpg")
    for split, ids in (("train", IDS[:2]), ("val", IDS[2:])):
        images, annotations = [], []
        for number, sample in enumerate(ids, 1):
            height, width = SIZE
            images.append(
                {"id": number, "file_name": f"{sample}.jpg", "height": height, "width": width}
            )
            for category in (1, 2, 3):
                mask = source_labels(sample) == category
                rows = np.flatnonzero(mask.any(1))
                top, bottom = float(rows[0]), float(rows[-1] + 1)
                shape = [[0, top, width, top, width, bottom, 0, bottom]]
                if kind == "rle":
                    shape = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
                    shape["counts"] = shape["counts"].decode()
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": category,
                        "segmentation": shape,
                        "iscrowd": 0,
                        "area": int(mask.sum()),
                        "bbox": [0, top, width, bottom - top],
                    }
                )
        categories = [{"id": i, "name": CLASSES[i]} for i in (1, 2, 3)]
        text = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / f"{split}.json").write_text(json.dumps(text))
    words = ["coco", tmp_path / "train.json", "--val-instances", tmp_path / "val.json"]
    run(*words, "--images", tmp_path / "photos", "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out", {"train": IDS[:2], "val": IDS[2:]})


def test_labelme_polygons_and_masks(tmp_path: Path, tree_file: Path) -> None:
    folder = tmp_path / "labelme"
    draw_photographs(folder, ".jpg")
    height, width = SIZE
    for sample in IDS:
        shapes = []
        for value in (1, 2, 3):
            rows = np.flatnonzero((source_labels(sample) == value).any(1))
            top, bottom = int(rows[0]), int(rows[-1])
            shape = {"label": CLASSES[value], "shape_type": "rectangle"}
            shape["points"] = [[0, top], [width - 1, bottom]]
            if value == 3:
                buffer = BytesIO()
                Image.new("1", (width, bottom - top + 1), 1).save(buffer, "PNG")
                shape |= {
                    "shape_type": "mask",
                    "mask": base64.b64encode(buffer.getvalue()).decode(),
                }
            shapes.append(shape)
        file = {"imagePath": f"{sample}.jpg", "imageHeight": height, "imageWidth": width}
        (folder / f"{sample}.json").write_text(json.dumps(file | {"shapes": shapes}))
    # labelme numbers classes by name: "3" of the tree file would be another one there
    tree_file.write_text(TREE.replace("Upper-clothes, 3", "Upper-clothes, left leg"))
    run("labelme", folder, "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out")


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_id_maps_of_any_depth(tmp_path: Path, tree_file: Path, bits: int) -> None:
    draw_photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    kind = {8: np.uint8, 16: np.uint16, 32: np.int32}[bits]
    for sample in IDS:
        path = tmp_path / f"masks/{sample}.{'tif' if bits == 32 else 'png'}"
        Image.fromarray(source_labels(sample).astype(kind)).save(path)
    (tmp_path / "names.txt").write_text("".join(f"{i}: {n}\n" for i, n in enumerate(CLASSES)))
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--classes", tmp_path / "names.txt"]
    run(*words, "--tree", tree_file, "--out", tmp_path / "out")
    check(tmp_path / "out")


def test_classes_are_shown_before_a_tree_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    Image.fromarray(source_labels("a")).save(tmp_path / "masks/a.png")
    run("masks", tmp_path / "images", tmp_path / "masks", "--classes", "lip", "--show")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0: background" and lines[14] == "14: left_arm" and len(lines) == 20


def test_all_problems_of_a_tree_come_at_once() -> None:
    section = {"person": {"background": ["background", "hut"], "body": {"head": "hat", "x": "hat"}}}
    with pytest.raises(MappingError) as refused:
        make_mapping(section, dict(enumerate(CLASSES)), "tree.yaml")
    message = str(refused.value)
    assert "background: the source has no class 'hut'; alike are hat" in message
    assert "x: 'hat' stands under another leaf too" in message
    assert "no leaf for Upper-clothes, left leg" in message


def test_a_mask_once_saved_as_jpeg_is_refused_with_what_to_do(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "JPEGImages")
    (tmp_path / "SegmentationClass").mkdir()
    for sample in IDS:
        with Image.open(tmp_path / "JPEGImages" / f"{sample}.JPG") as picture:
            picture.save(tmp_path / "SegmentationClass" / f"{sample}.png")
    write_labelmap(tmp_path / "labelmap.txt")
    with pytest.raises(SystemExit, match=r"a: \d+ colours are not in labelmap\.txt.*JPEG"):
        run("voc", tmp_path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    draw_photographs(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    Image.fromarray(source_labels("a")).save(tmp_path / "masks/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    words = ["masks", tmp_path / "images", tmp_path / "masks", "--classes", "atr"]
    with pytest.raises(SystemExit, match="out: exists; remove it or choose another folder"):
        run(*words, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
