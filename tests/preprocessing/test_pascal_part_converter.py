"""Conversion of the original Pascal-Part release, on annotations made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.converters.import_dataset import split_randomly
from preprocessing_stage.converters.pascal_part import LEAVES, PARTS_OF_LEAF, main
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_labels
from preprocessing_stage.params import preprocessing_problems, read_yaml
from train_stage.params import train_problems

savemat = pytest.importorskip("scipy.io").savemat

ROOT = Path(__file__).parents[2]
SIZE = (4, 6)
TREE = ClassTree({"person": {name: i for i, name in enumerate(LEAVES)}})


def mask(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8, 1 in a rectangle."""
    found = np.zeros(size, np.uint8)
    found[rows, columns] = 1
    return found


EVERYWHERE = mask(slice(None), slice(None))
NOWHERE = mask(slice(0), slice(0))


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A 1xN struct array; without rows the empty matrix that MATLAB's [] is."""
    if not rows:
        return np.zeros((0, 0))
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def thing(kind: str, where: np.ndarray, *parts: tuple[str, np.ndarray]) -> dict[str, Any]:
    """An object of an annotation with its parts."""
    listed = structs([{"part_name": name, "mask": part} for name, part in parts])
    return {"class": kind, "class_ind": 15, "mask": where, "parts": listed}


class Release:
    """A Pascal-Part release in a temporary folder, and its conversion."""

    def __init__(self, folder: Path) -> None:
        self.annotations = folder / "Annotations_Part"
        self.images = folder / "images"
        self.out = folder / "new" / "people"
        self.annotations.mkdir()
        self.images.mkdir()

    def add(
        self, name: str, *things: dict[str, Any], photograph: tuple[int, int] | None = SIZE
    ) -> None:
        anno = {"imname": name, "objects": structs(list(things))}
        savemat(self.annotations / f"{name}.mat", {"anno": anno})
        if photograph:
            pixels = np.full((*photograph, 3), len(name), np.uint8)
            Image.fromarray(pixels).save(self.images / f"{name}.jpg")

    def add_people(self, count: int) -> list[str]:
        names = [f"p{i:02}" for i in range(count)]
        for name in names:
            self.add(name, thing("person", EVERYWHERE, ("head", EVERYWHERE)))
        return names

    def convert(self, *options: str) -> DatasetFolder:
        main([str(self.annotations), str(self.images), str(self.out), *options])
        return DatasetFolder(self.out)

    def refusal(self, *options: str) -> str:
        """What a failing conversion says; it leaves nothing behind."""
        with pytest.raises(SystemExit) as error:
            self.convert(*options)
        assert not list(self.out.parent.glob("people*"))
        return str(error.value)

    def labels(self, name: str) -> list[list[int]]:
        return read_labels(self.out / "gt_masks" / f"{name}.png").tolist()


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_every_part_has_its_leaf(release: Release) -> None:
    ids = {
        1: "llarm rlarm lhand rhand",
        2: "torso neck",
        3: "llleg rlleg lfoot rfoot",
        4: "head leye reye lear rear lebrow rebrow nose mouth hair",
        5: "luleg ruleg",
        6: "luarm ruarm",
    }
    parts = [(part, i) for i, names in ids.items() for part in names.split()]
    assert len(parts) == 24 == len(" ".join(PARTS_OF_LEAF.values()).split())
    size = (2, 24)
    columns = [(p, mask(slice(1), slice(i, i + 1), size)) for i, (p, _) in enumerate(parts)]
    everywhere = np.ones(size, np.uint8)
    release.add("a", thing("person", everywhere, *columns), photograph=size)
    release.add("b", thing("person", everywhere, ("head", everywhere)), photograph=size)
    release.convert()
    assert release.labels("a") == [[i for _, i in parts], [0] * 24]


def test_draws_all_persons_and_ignores_the_rest(release: Release) -> None:
    release.add(
        "a",
        thing(
            "person",
            mask(slice(None), slice(0, 2)),
            ("head", mask(slice(0, 2), slice(0, 2))),
            ("torso", mask(slice(1, 3), slice(0, 1))),
        ),
        thing("horse", EVERYWHERE, ("lfuleg", EVERYWHERE)),
        thing("person", mask(slice(None), slice(2, 4)), ("lfoot", mask(slice(3, 4), slice(3, 4)))),
        thing("person", mask(slice(None), slice(3, 5))),
        thing("person", mask(slice(0, 1), slice(5, 6)), ("hair", NOWHERE)),
    )
    release.add("b", thing("person", EVERYWHERE, ("neck", mask(slice(0, 1), slice(None)))))
    release.convert()
    assert release.labels("a") == [
        [4, 4, 0, 255, 255, 255],
        [2, 4, 0, 255, 255, 0],
        [2, 0, 0, 255, 255, 0],
        [0, 0, 0, 3, 255, 0],
    ]
    # One object with one part: squeezing leaves neither of the two arrays.
    assert release.labels("b") == [[2] * 6, [0] * 6, [0] * 6, [0] * 6]


def test_writes_a_complete_folder(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    names = release.add_people(5)
    release.add("horse", thing("horse", EVERYWHERE), photograph=None)
    release.add("nothing", photograph=None)
    release.add("unlabelled", thing("person", EVERYWHERE), thing("person", EVERYWHERE))
    folder = release.convert()
    assert listing_problems(folder, TREE) == []
    assert (release.out / "classes.txt").read_text() == (
        "0: background\n1: low_hand\n2: torso\n3: low_leg\n4: head\n5: up_leg\n6: up_hand\n"
    )
    assert sorted(folder.ids("train") + folder.ids("val")) == names
    assert len(folder.ids("val")) == 1
    assert sorted(path.name for path in release.out.parent.iterdir()) == ["people"]
    assert {path.stem for path in (release.out / "gt_masks").iterdir()} == set(names)
    copies = {path.name: path.read_bytes() for path in (release.out / "JPEGImages").iterdir()}
    assert copies == {f"{n}.jpg": (release.images / f"{n}.jpg").read_bytes() for n in names}
    with Image.open(release.out / "gt_masks" / "p00.png") as picture:
        assert picture.mode == "P"
    left_out, sizes, training = capsys.readouterr().out.splitlines()
    assert left_out.startswith("3 of 8 left out") and sizes.endswith("people: 4 train, 1 val")
    assert "--profile profiles/pascal_part.yaml" in training
    own = read_yaml(release.out / "people.yaml")
    params = merge_profile(read_yaml(ROOT / "params.yaml"), own, release.out)
    assert preprocessing_problems(params)[1] == train_problems(params)[1] == []
    assert params["tree"] == TREE.to_dict()


def test_random_split_follows_share_and_seed() -> None:
    names = [f"p{i:02}" for i in range(20)]
    split = split_randomly(names, 0.25, seed=3)
    assert len(split["val"]) == 5
    assert sorted(split["train"] + split["val"]) == names
    assert all(some == sorted(some) for some in split.values())
    assert split == split_randomly(names, 0.25, seed=3) != split_randomly(names, 0.25, seed=4)
    assert [len(split_randomly(names, share, 0)["val"]) for share in (0.001, 0.999)] == [1, 19]


def test_share_and_seed_reach_the_split(release: Release) -> None:
    names = release.add_people(8)
    folder = release.convert("--val-share", "0.5", "--seed", "7")
    assert {s: folder.ids(s) for s in ("train", "val")} == split_randomly(names, 0.5, 7)


def test_id_files_choose_the_samples(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release.add_people(4)
    release.add("horse", thing("horse", EVERYWHERE))
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_bytes(b"p03\r\np00\r\nunknown\r\n")
    val.write_text("horse\np02")
    folder = release.convert("--train-ids", str(train), "--val-ids", str(val))
    assert folder.ids("train") == ["p03", "p00"]
    assert folder.ids("val") == ["p02"]
    assert not (release.out / "JPEGImages" / "p01.jpg").exists()
    left_out, sizes, _ = capsys.readouterr().out.splitlines()
    assert left_out.startswith("2 of 5 left out") and sizes.endswith("people: 2 train, 1 val")


def test_id_files_are_checked(release: Release, tmp_path: Path) -> None:
    release.add_people(2)
    files = [tmp_path / "train.txt", tmp_path / "val.txt"]
    options = ["--train-ids", str(files[0]), "--val-ids", str(files[1])]
    files[0].write_text("p00\n")
    assert "val.txt" in release.refusal(*options)
    files[1].write_text("p00\np01\n")
    assert "'p00' is in train and in val; keep one" in release.refusal(*options)
    files[1].write_text("p02\n")
    assert "val: has no sample" in release.refusal(*options)
    assert release.refusal(*options[:2]) == "2"
    assert release.refusal(*options, "--val-share", "0.2") == "2"


def test_names_all_problems_at_once(release: Release) -> None:
    release.add_people(2)
    head = thing("person", EVERYWHERE, ("head", EVERYWHERE))
    release.add("away", head, photograph=None)
    release.add("size", head, photograph=(4, 5))
    wings = ("wing", EVERYWHERE), ("beak", EVERYWHERE)
    release.add("bird", thing("person", EVERYWHERE, *wings))
    release.add("small", thing("person", np.ones((3, 6), np.uint8)), head)
    (release.annotations / "broken.mat").write_bytes(b"not MATLAB" * 50)
    savemat(release.annotations / "other.mat", {"x": 1})
    first, *lines = release.refusal().splitlines()
    assert first.endswith("6 problems")
    wanted = [
        ("away:", "away.jpg"),
        ("bird: part 'beak' is unknown", "part 'wing' is unknown"),
        ("broken: no annotation of Pascal-Part",),
        ("other: no annotation of Pascal-Part", "anno"),
        ("size: the label map has 6 x 4 pixels, size.jpg 5 x 4",),
        ("small: masks have (height, width) [(3, 6), (4, 6)]",),
    ]
    assert len(lines) == len(wanted)
    for line, parts in zip(lines, wanted, strict=True):
        assert all(part in line for part in parts), line


def test_refuses_an_existing_folder(release: Release) -> None:
    release.add_people(2)
    release.out.mkdir(parents=True)
    (release.out / "mine.txt").write_text("keep")
    with pytest.raises(SystemExit, match="people: exists"):
        release.convert()
    assert [path.name for path in release.out.iterdir()] == ["mine.txt"]


def test_refuses_missing_folders_and_a_senseless_share(release: Release) -> None:
    release.add_people(2)
    assert "--val-share 1.5: is no share" in release.refusal("--val-share", "1.5")
    for folder in (release.annotations, release.images):
        folder.rename(folder.with_name("away"))
        assert f"{folder}: no such folder" in release.refusal()
        folder.with_name("away").rename(folder)


def test_masks_of_stored_photographs_are_turned_with_them(release: Release) -> None:
    names = release.add_people(2)
    release.add("p00", thing("person", EVERYWHERE, ("head", mask(slice(1), slice(None)))))
    for name in names:
        path = release.images / f"{name}.jpg"
        with Image.open(path) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6
            picture.save(path, exif=exif)
    assert "give --exif stored" in release.refusal()
    release.convert("--exif", "stored")
    assert release.labels("p00") == [[0, 0, 0, 4]] * 6


def test_says_what_to_install_without_scipy(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    release.add_people(2)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert release.refusal() == "needs scipy: pip install '.[convert]'"
