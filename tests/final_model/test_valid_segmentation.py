"""Images and their segmentations as figures, on a tiny segmenter."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawings import TREE, bands, photograph
from matplotlib.figure import Figure
from PIL import Image

from final_model_stage import valid_segmentation
from final_model_stage.chain.find_segmenter import find_segmenter
from final_model_stage.image_reader import decode_image
from final_model_stage.reporting.figures import Row
from final_model_stage.torch_segmenter import TorchSegmenter
from final_model_stage.validation_images import spread_images
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image, write_labels
from preprocessing_stage.drawing.palette import palette

pytestmark = pytest.mark.slow


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Row]:
    """The rows that the program put on its sheet."""
    seen: list[list[Row]] = []

    def noted(rows: list[Row], tree: ClassTree) -> Figure:
        seen.append(list(rows))
        return Figure((1, 1))

    monkeypatch.setattr(valid_segmentation, "panel_figure", noted)
    valid_segmentation.main(arguments)
    *single, sheet = seen
    assert [[row.id] for row in sheet] == [[row.id for row in rows] for rows in single]
    return {row.id: row for row in sheet}


def test_ids_and_files_are_segmented(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, segmenter: TorchSegmenter
) -> None:
    Image.fromarray(photograph(9, (50, 70))).save("mine.png")
    rows = run(monkeypatch, "val_3", "mine.png")
    assert list(rows) == ["val_3", "mine"]
    np.testing.assert_array_equal(rows["val_3"].image, photograph(3))
    np.testing.assert_array_equal(rows["val_3"].truth, bands())
    assert rows["mine"].truth is None
    for shown in rows.values():
        np.testing.assert_array_equal(shown.prediction, segmenter(shown.image))


def test_figures_are_written_and_their_paths_printed(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valid_segmentation.main(["val_0", "val_1", "--out", "here"])
    names = ["val_0.png", "val_1.png", "sheet.png"]
    assert capsys.readouterr().out.split() == [str(Path("here", name)) for name in names]
    one, sheet = read_image("here/val_0.png"), read_image("here/sheet.png")
    assert sheet.shape[1] == one.shape[1] and sheet.shape[0] > 1.3 * one.shape[0]


def test_without_arguments_validation_images_are_chosen_at_random(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(run(monkeypatch)) == {f"val_{i}" for i in range(5)}  # there are only five
    assert len(run(monkeypatch, "val_0", "--random", "5")) == 5  # named and random: shown once

    def chosen(seed: int) -> list[str]:
        return list(valid_segmentation.choose_images([], DatasetFolder("data"), count=2, seed=seed))

    assert chosen(0) == chosen(0) == list(run(monkeypatch, "--random", "2"))
    assert list(run(monkeypatch, "--random", "2", "--seed", "7")) == chosen(7) != chosen(0)


def test_all_unknown_words_are_named_at_once(workplace: Path) -> None:
    Image.fromarray(photograph()).save("mine.png")
    with pytest.raises(SystemExit) as stop:
        valid_segmentation.main(["val_0", "nobody", "mine.png", "photos/gone.jpg", "train_0"])
    message = str(stop.value)
    assert message.startswith("nobody, photos/gone.jpg, train_0: ")
    assert "5 ids" in message and "val_id.txt" in message
    assert not valid_segmentation.EXAMPLES.exists()


def test_no_figure_overwrites_another(workplace: Path) -> None:
    for name in ("a/same.png", "b/same.png", "a/sheet.png", "a/val_0.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(photograph()).save(name)
    wanted = ["a/same.png", "b/same.png", "a/same.png", "a/sheet.png", "a/val_0.png", "val_0"]
    images = valid_segmentation.choose_images(wanted, DatasetFolder("data"), count=0, seed=0)
    assert images == {
        "val_0": None,
        "same": Path("a/same.png"),
        "same_2": Path("b/same.png"),
        "sheet_2": Path("a/sheet.png"),
        "val_0_2": Path("a/val_0.png"),
    }


def test_no_figure_overwrites_a_users_file(workplace: Path) -> None:
    Image.fromarray(photograph()).save("mine.png")
    Path("photo.jpg").write_bytes(Path("mine.png").read_bytes())
    Path("here").mkdir()
    Path("here/sheet.png").write_text("a user's")
    before = Path("mine.png").read_bytes()
    for words in (["mine.png", "--out", "."], ["photo.jpg", "--out", "here"]):
        with pytest.raises(SystemExit, match=r"(mine|sheet)\.png: would be written over"):
            valid_segmentation.main(words)
    assert Path("mine.png").read_bytes() == before
    assert Path("here/sheet.png").read_text() == "a user's"
    for _ in range(2):  # in the default folder figures are renewed
        valid_segmentation.main(["mine.png"])
    with pytest.raises(SystemExit, match="would be written over"):
        valid_segmentation.main([str(valid_segmentation.EXAMPLES / "mine.png")])


def test_a_folder_that_takes_no_figure_is_named(workplace: Path) -> None:
    Path("closed").write_text("no folder")
    with pytest.raises(SystemExit, match="closed"):
        valid_segmentation.main(["val_0", "--out", "closed"])


def test_an_image_without_label_map_is_shown_without_truth(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("data/gt_masks/val_2.png").unlink()
    assert run(monkeypatch, "val_2")["val_2"].truth is None


def test_truth_of_classes_that_are_numbered_otherwise_is_refused(workplace: Path) -> None:
    classes = Path("data/classes.txt")
    classes.write_text("0: background\n1: stem_a\n2: cap\n7: foot\n")
    with pytest.raises(SystemExit) as refused:
        valid_segmentation.main(["val_0", "val_1"])
    assert str(refused.value).splitlines()[1:] == [
        "  classes.txt: id 1 is 'stem_a', in the tree 'cap'; make them agree",
        "  classes.txt: id 2 is 'cap', in the tree 'stem_a'; make them agree",
    ]


def test_files_need_no_data_set(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photograph()).save("mine.png")
    assert list(run(monkeypatch, "mine.png", "--data", "nowhere")) == ["mine"]
    with pytest.raises(SystemExit, match=r"nowhere/val_id\.txt: no such file; give --data"):
        valid_segmentation.main(["val_0", "--data", "nowhere"])
    with pytest.raises(SystemExit, match=r"^minr\.png: no such image file; .*nowhere/val_id\.txt"):
        valid_segmentation.main(["mine.png", "minr.png", "--data", "nowhere"])


def test_broken_files_stop_with_their_names(workplace: Path) -> None:
    Path("broken.jpg").write_text("no picture")
    with pytest.raises(SystemExit, match=r"broken\.jpg"):
        valid_segmentation.main(["broken.jpg"])
    Image.fromarray(photograph()).save("whole.jpg")
    Path("broken.jpg").write_bytes(Path("whole.jpg").read_bytes()[:-40])
    with pytest.raises(SystemExit, match=r"^broken\.jpg: damaged"):
        valid_segmentation.main(["whole.jpg", "broken.jpg"])
    Path("data/JPEGImages/val_1.png").unlink()
    with pytest.raises(SystemExit, match="JPEGImages/val_1: no file with one of the endings"):
        valid_segmentation.main(["val_1"])
    write_labels(Path("data/gt_masks/val_0.png"), bands((12, 12)), palette(TREE))
    with pytest.raises(SystemExit, match="make their sizes equal"):
        valid_segmentation.main(["val_0"])


def test_the_trained_segmenter_comes_before_the_shipped_one(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("models/segmenter", "pretrained/default")
    valid_segmentation.main(["val_0"])
    assert capsys.readouterr().err == "segmenter: models/segmenter\n"
    shutil.rmtree("models")
    assert find_segmenter() == Path("pretrained/default")
    Path("pretrained/default").rename("elsewhere")
    with pytest.raises(SystemExit, match=r"neither .* nor .*--segmenter.*\./pipeline\.sh"):
        valid_segmentation.main(["val_0"])
    capsys.readouterr()
    valid_segmentation.main(["val_0", "--segmenter", "elsewhere"])
    assert capsys.readouterr().err == "segmenter: elsewhere\n"


def test_a_validation_image_called_sheet_is_kept(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("JPEGImages", "gt_masks"):
        Path(f"data/{folder}/val_0.png").rename(f"data/{folder}/sheet.png")
    Path("data/val_id.txt").write_text("sheet\nval_1\n")
    valid_segmentation.main(["sheet", "val_1", "--out", "here"])
    names = ["sheet.png", "val_1.png", "sheet_2.png"]
    assert capsys.readouterr().out.split() == [str(Path("here", name)) for name in names]
    own, sheet = read_image("here/sheet.png"), read_image("here/sheet_2.png")
    assert own.shape == read_image("here/val_1.png").shape
    assert sheet.shape[0] > 1.3 * own.shape[0]


@pytest.mark.parametrize("suffix", ["webp", "avif", "tif", "bmp"])
def test_files_of_all_formats_are_read_as_by_predict(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = Path(f"mine.{suffix}")
    Image.fromarray(photograph(9, (50, 70))).save(path)
    rows = run(monkeypatch, str(path))
    np.testing.assert_array_equal(rows["mine"].image, decode_image(path).image)


def test_files_need_no_params(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `pip install .`, in a folder that is not the project's."""
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    Image.fromarray(photograph()).save("mine.png")
    segmenter = ["--segmenter", "../models/segmenter"]
    Path("params.yaml").write_text("of: another program")
    assert list(run(monkeypatch, "mine.png", *segmenter)) == ["mine"]
    Path("params.yaml").unlink()
    assert list(run(monkeypatch, "mine.png", *segmenter)) == ["mine"]
    with pytest.raises(SystemExit, match=r"no params\.yaml in .*elsewhere.*give one with --data"):
        valid_segmentation.main(["val_0", *segmenter])
    with pytest.raises(SystemExit, match="--data"):
        valid_segmentation.main(segmenter)


def test_validation_images_are_spread_over_the_split(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert [path.stem for path in spread_images(None, 2)] == ["val_0", "val_2"]
    assert [path.stem for path in spread_images(None, 3)] == ["val_0", "val_1", "val_3"]
    assert len(spread_images(None, 99)) == 5
    with pytest.raises(FileNotFoundError, match="nowhere"):
        spread_images(Path("nowhere"), 2)
    Path("params.yaml").write_text("of: another program")
    assert spread_images(None, 2) == []
    Path("params.yaml").unlink()
    assert spread_images(None, 2) == []


@pytest.mark.parametrize("number", ["0", "-1", "101", "many"])
def test_absurd_numbers_are_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        valid_segmentation.main(["--random", number])
    assert "from 1 to 100" in capsys.readouterr().err


def test_a_seed_below_zero_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        valid_segmentation.main(["--seed", "-1"])
    assert "--seed: -1 is not a number from 0 on" in capsys.readouterr().err
