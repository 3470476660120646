"""Data of others, from the import to the report, by the commands that docs and profiles name."""

from __future__ import annotations

import csv
import json
import shlex
import warnings
from pathlib import Path

import pytest
from damage import relabel, without
from drawn_sources import Drawn
from stage_runs import ROOT, run_module, run_pipeline

from final_model_stage.segmenter import Segmenter
from preprocessing_stage.converters.known_classes import KNOWN_CLASSES
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.params import read_yaml


def header(profile: Path) -> list[list[str]]:
    """Words of the commands in the comment at a profile's beginning."""
    lines = profile.read_text().splitlines()
    return [shlex.split(line[1:]) for line in lines if line.startswith("#     ")]


def draw_release(importing: list[str], classes: list[str]) -> None:
    """Photographs and masks where the command that imports them looks for them."""
    images, masks, *options = importing[4:]
    options = dict(zip(options[::2], options[1::2], strict=True))
    folders = {"t": (images, masks), "v": (options["--val-images"], options["--val-masks"])}
    for split, (photographs, labels) in folders.items():
        drawn = Drawn(classes, [f"{split}{number}" for number in range(8)])
        drawn.photographs(Path(photographs))
        drawn.id_masks(Path(labels))


@pytest.mark.parametrize("name", ["lip", "cihp"])
def test_ids_of_the_profile_are_those_of_the_data_set(name: str) -> None:
    profile = read_yaml(ROOT / f"profiles/{name}.yaml")
    tree = ClassTree(profile["tree"], profile["swap"])
    assert [leaf.name for leaf in tree.leaves] == KNOWN_CLASSES[name]
    assert [leaf.id for leaf in tree.leaves] == list(range(20))
    assert len(tree.swap) == 3
    sides = {leaf.name for leaf in tree.leaves if leaf.name.startswith(("left_", "right_"))}
    assert {side for pair in tree.swap for side in pair} == sides


@pytest.mark.slow
def test_lip_from_its_masks_to_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    importing, training = header(ROOT / "profiles/lip.yaml")
    draw_release(importing, KNOWN_CLASSES["lip"])
    run_module(*importing[2:])
    relabel(Path("data/lip"), without(3), "val")
    relabel(Path("data/lip"), without(11), "train")
    assert training == ["./pipeline.sh", "--profile", "profiles/lip.yaml", "--data", "data/lip"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        run = run_pipeline(ROOT / "profiles/lip.yaml", Path("data/lip"), "evaluate_segmenter")

    with (run / "results/data/findings.csv").open(newline="") as file:
        findings = [row["finding"] for row in csv.DictReader(file)]
    assert findings[:2] == [
        "no pixel of the train split is scarf: it is never learnt",
        "no pixel of the val split is glove: it is never measured",
    ]
    figures = json.loads((run / "results/final/metrics.json").read_text())
    assert figures["images"] == 8 and figures["iou"]["scarf"] == 0
    assert {"mIoU_0", "mIoU_1", "mIoU_2"} <= figures.keys()
    segmenter = Segmenter.load(run / "models/segmenter")
    flipped = segmenter.tree.flipped("upper_body")
    names = [leaf.name for leaf in segmenter.tree.leaves_of("upper_body")]
    assert names[flipped[names.index("left_arm")]] == "right_arm"
    assert "look like two sides" not in capsys.readouterr().out
