"""File names of photographs and masks that importers take: endings, spaces, Unicode, folders."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from drawn_sources import Drawn
from import_runs import CLASSES, DRAWN, run

from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image
from preprocessing_stage.params import read_yaml

pytest.importorskip("pycocotools")


def ids_of(out: Path) -> set[str]:
    """Of a data set folder that the pipeline takes."""
    folder, tree = DatasetFolder(out), ClassTree(read_yaml(out / f"{out.name}.yaml")["tree"])
    assert listing_problems(folder, tree) == []
    ids = folder.ids("train") + folder.ids("val")
    assert all(read_image(folder.image_path(i)).shape[:2] == DRAWN.size for i in ids)
    return {*ids}


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ""])
def test_a_photograph_with_another_ending_gets_that_of_its_format(
    ending: str, tmp_path: Path
) -> None:
    DRAWN.labelme(tmp_path / "annotated")
    for path in (tmp_path / "annotated").glob("*.json"):
        path.write_text(path.read_text().replace(".jpg", ending))
        path.with_suffix(".jpg").rename(path.parent / f"{path.stem}{ending}")
    run("labelme", tmp_path / "annotated", "--out", tmp_path / "out")
    assert ids_of(tmp_path / "out") == {*DRAWN.ids}
    assert {path.suffix for path in (tmp_path / "out/JPEGImages").iterdir()} == {".jpg"}


def test_an_id_has_no_spaces_around_it(tmp_path: Path) -> None:
    drawn = Drawn(CLASSES, ["photo 1 ", " b", "c"])
    drawn.photographs(tmp_path / "photos")
    drawn.id_masks(tmp_path / "masks")
    (tmp_path / "train.txt").write_text("photo 1 .jpg\nb\n")
    (tmp_path / "val.txt").write_text("c")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    words = ["masks", tmp_path / "photos", tmp_path / "masks", "--classes", tmp_path / "names.txt"]
    lists = ["--train-ids", tmp_path / "train.txt", "--val-ids", tmp_path / "val.txt"]
    run(*words, *lists, "--out", tmp_path / "out")
    assert ids_of(tmp_path / "out") == {"photo 1", "b", "c"}
    drawn.labelme(tmp_path / "annotated")
    run("labelme", tmp_path / "annotated", "--out", tmp_path / "other")
    assert ids_of(tmp_path / "other") == {"photo 1", "b", "c"}


def test_accents_may_be_letters_of_their_own_as_macos_writes_them(tmp_path: Path) -> None:
    names = ["Zoë", "йод", "c"]
    apart = [unicodedata.normalize("NFD", name) for name in names]
    Drawn(CLASSES, names).photographs(tmp_path / "photos")
    Drawn(CLASSES, apart).id_masks(tmp_path / "masks")
    (tmp_path / "train.txt").write_text("\n".join(apart[:2]))
    (tmp_path / "val.txt").write_text("c")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    words = ["masks", tmp_path / "photos", tmp_path / "masks", "--classes", tmp_path / "names.txt"]
    lists = ["--train-ids", tmp_path / "train.txt", "--val-ids", tmp_path / "val.txt"]
    run(*words, *lists, "--out", tmp_path / "out")
    assert ids_of(tmp_path / "out") == {*names}


def test_the_command_to_train_with_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DRAWN.labelme(tmp_path / "annotated")
    out = tmp_path / "my photos"
    run("labelme", tmp_path / "annotated", "--out", out)
    assert f"--profile '{out}/my photos.yaml' --data '{out}'" in capsys.readouterr().out
