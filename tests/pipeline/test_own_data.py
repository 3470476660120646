"""Data of others, from the import to the report, by the commands that docs and profiles name."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from damage import relabel, without
from doc_pages import blocks, commands
from drawn_sources import Drawn
from PIL import Image
from stage_runs import ROOT, run_module, run_pipeline

from final_model_stage import Segmenter
from preprocessing_stage.converters.known_classes import KNOWN_CLASSES
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import (
    DatasetFolder,
    read_image,
    read_labels,
    write_listing,
)
from preprocessing_stage.params import read_yaml

pytest.importorskip("pycocotools")

PAGE = "docs/own_data.md"
LEAF_OF = {
    "background": 0,
    "bag": 0,
    "hat": 1,
    "hair": 1,
    "face": 1,
    "left arm": 2,
    "right arm": 3,
    "left_leg": 4,
    "right_leg": 4,
    "crowd": 255,
}
"""By the page's tree file."""
DRAWN = Drawn([*LEAF_OF], [f"s{number}" for number in range(8)], ignored="crowd")
COMMANDS = list(commands(PAGE))
IMPORTS = {
    command[command.index("--out") + 1]: command
    for command in COMMANDS
    if "preprocessing_stage.converters" in command and "--out" in command
}
"""New folder -> the command on the page that makes it."""


def header(profile: Path) -> list[list[str]]:
    """Words of the commands in the comment at a profile's beginning."""
    lines = profile.read_text().splitlines()
    return [shlex.split(line[1:]) for line in lines if line.startswith("#     ")]


def options(command: list[str]) -> dict[str, str]:
    return {word: command[i + 1] for i, word in enumerate(command) if word.startswith("--")}


def draw(command: list[str]) -> None:
    """What the command imports, in the current folder and where it looks for it."""
    kind, first, second = command[3:6]
    if "lip" in command or "cihp" in command:
        draw_release(command)
    elif kind == "coco":
        DRAWN.coco(Path(first), DRAWN.ids[:5])
        DRAWN.coco(Path(options(command)["--val-instances"]), DRAWN.ids[5:])
        DRAWN.photographs(Path(options(command)["--images"]))
    elif kind == "labelme":
        DRAWN.labelme(Path(first))
    elif kind == "voc" and "--classes" in command:
        DRAWN.photographs(Path(first) / "JPEGImages")
        DRAWN.palette_masks(Path(first) / "SegmentationClass")
        DRAWN.names(Path(options(command)["--classes"]))
    elif kind == "voc":
        DRAWN.cvat(Path(first))
    elif "--exif" in command:
        draw_own_layout(Path(first).parent)
    else:
        DRAWN.photographs(Path(first), ".JPG")
        if "--labelmap" in command:
            DRAWN.labelmap(Path(options(command)["--labelmap"]))
            DRAWN.colour_masks(Path(second))
        else:
            DRAWN.names(Path(options(command)["--classes"]))
            DRAWN.id_masks(Path(second), np.uint16)


def draw_release(command: list[str]) -> None:
    """LIP or CIHP."""
    given = options(command)
    folders = {"t": command[4:6], "v": [given["--val-images"], given["--val-masks"]]}
    for split, (photographs, masks) in folders.items():
        ids = [f"{split}{number}" for number in range(8)]
        drawn = Drawn(KNOWN_CLASSES[given["--classes"]], ids)
        drawn.photographs(Path(photographs))
        drawn.id_masks(Path(masks))


def draw_own_layout(folder: Path) -> None:
    """Photographs that EXIF turns by 90 degrees, label maps as the photographs are stored."""
    DRAWN.photographs(folder / "JPEGImages")
    DRAWN.id_masks(folder / "gt_masks")
    for path in (folder / "JPEGImages").iterdir():
        with Image.open(path) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6
            picture.save(path, exif=exif)
    splits = {"train": DRAWN.ids[:5], "val": DRAWN.ids[5:]}
    write_listing(folder, splits, dict(enumerate(DRAWN.classes)))


def expected(command: list[str], sample: str) -> np.ndarray:
    """Label map (H, W) uint8 of a sample that the command imports."""
    if "--tree" in command:
        return np.array([*LEAF_OF.values()], np.uint8)[DRAWN.labels(sample)]
    if "--exif" in command:
        return np.rot90(DRAWN.labels(sample), -1)
    return Drawn(KNOWN_CLASSES[options(command)["--classes"]], []).labels(sample)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type the page's commands in, with its tree file."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(blocks(PAGE, "text")[0])
    Path("profiles").symlink_to(ROOT / "profiles")
    return tmp_path


@pytest.mark.parametrize("out", IMPORTS)
def test_an_import_of_the_page_becomes_samples_to_train_on(
    out: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = IMPORTS[out]
    draw(command)
    run_module(*command[2:])
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("train on it: ./pipeline.sh ")

    folder = DatasetFolder(out)
    ids = folder.ids("train") + folder.ids("val")
    assert len(ids) == (16 if "--val-masks" in command else 8)
    for sample in ids:
        labels, image = folder.label_path(sample), folder.image_path(sample)
        assert labels and image
        np.testing.assert_array_equal(read_labels(labels), expected(command, sample))
        assert read_image(image).shape[:2] == expected(command, sample).shape

    following = COMMANDS[COMMANDS.index(command) + 1 :]
    training = shlex.split(said)[3:]
    if following and following[0][0] == "./pipeline.sh":
        assert options(following[0])["--data"] == out
        training = following[0]
    run = run_pipeline(Path(options(training)["--profile"]), Path(out), "pack_samples")
    assert (run / "data/packed/samples.csv").exists()
    if "--tree" in command:
        assert read_yaml(run / "params.yaml")["swap"] == [["left arm", "right arm"]]


@pytest.mark.slow
def test_from_an_export_of_cvat_to_the_report_in_less_than_ten_commands(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = COMMANDS.index(IMPORTS["data/mine"]) + 1
    first = [words[0] for words in COMMANDS].index("unzip") - 1
    setting_up, unzipping, showing, importing = COMMANDS[first:last]
    looking, training = COMMANDS[last : last + 2]
    DRAWN.cvat(Path("export"))
    with Image.open("export/JPEGImages/s0.JPG") as picture:
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.save("export/JPEGImages/s0.JPG", exif=exif)
    shutil.make_archive("export", "zip", "export")
    shutil.rmtree("export")

    assert setting_up == ["source", "./setup.sh", "requirements.txt"]
    assert unzipping == ["unzip", "export.zip", "-d", "export"]
    shutil.unpack_archive("export.zip", "export")
    run_module(*showing[2:])
    assert capsys.readouterr().out.splitlines() == [f"{i}: {n}" for i, n in enumerate(LEAF_OF)]
    run_module(*importing[2:])
    assert shlex.join(training) in capsys.readouterr().out
    assert looking == [*training, "sample_sheet"]
    profile, data = Path(options(training)["--profile"]), Path(options(training)["--data"])
    run = run_pipeline(profile, data, looking[-1])
    assert (run / "results/data/samples.jpg").exists()
    run = run_pipeline(profile, data)

    printed = capsys.readouterr().out
    assert "mIoU_2" in printed and str(run / "results/report.html") in printed
    figures = json.loads((run / "results/final/metrics.json").read_text())
    assert figures["iou"].keys() == {"body", "head", "arms", "legs", "left arm", "right arm"}
    assert "EXIF turns or mirrors 1 of 8 photographs" in (run / "results/report.html").read_text()


@pytest.mark.parametrize("name", ["lip", "cihp"])
def test_ids_of_the_profile_are_those_of_the_data_set(name: str) -> None:
    profile = read_yaml(ROOT / f"profiles/{name}.yaml")
    tree = ClassTree(profile["tree"], profile["swap"])
    assert [leaf.name for leaf in tree.leaves] == KNOWN_CLASSES[name]
    assert [leaf.id for leaf in tree.leaves] == list(range(20))
    assert len(tree.swap) == 3
    sides = {leaf.name for leaf in tree.leaves if leaf.name.startswith(("left_", "right_"))}
    assert {side for pair in tree.swap for side in pair} == sides
    importing = COMMANDS.index(IMPORTS[f"data/{name}"])
    assert header(ROOT / f"profiles/{name}.yaml") == COMMANDS[importing : importing + 2]


@pytest.mark.slow
def test_lip_from_its_masks_to_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(IMPORTS["data/lip"])
    run_module(*IMPORTS["data/lip"][2:])
    relabel(Path("data/lip"), without(3), "val")
    relabel(Path("data/lip"), without(11), "train")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        run = run_pipeline(Path("profiles/lip.yaml"), Path("data/lip"), "evaluate_segmenter")

    with (run / "results/data/findings.csv").open(newline="") as file:
        findings = [row["finding"] for row in csv.DictReader(file)]
    assert findings[:2] == [
        "no pixel of the train split is 'scarf': it is never learnt",
        "no pixel of the val split is 'glove': it is never measured",
    ]
    figures = json.loads((run / "results/final/metrics.json").read_text())
    assert figures["images"] == 8 and figures["iou"]["scarf"] == 0
    assert {"mIoU_0", "mIoU_1", "mIoU_2"} <= figures.keys()
    segmenter = Segmenter.load(run / "models/segmenter")
    flipped = segmenter.tree.flipped("upper_body")
    names = [leaf.name for leaf in segmenter.tree.leaves_of("upper_body")]
    assert names[flipped[names.index("left_arm")]] == "right_arm"
    assert "look like two sides" not in capsys.readouterr().out
