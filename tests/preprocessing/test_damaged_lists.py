"""Every damage of the lists and folders of a data set is found before training and named.

A row of a table is one damage of a small folder and what is said of it. All of them go through
`pack`, the stage before any training.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from damage import (
    SHAPE,
    Damage,
    append,
    instead,
    label_map,
    link_out,
    photograph,
    problems_of,
    recode,
    replace,
)

from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.dataset_folder import DatasetFolder

LISTS: dict[str, tuple[Damage, str]] = {
    "no photograph": (
        lambda f: photograph(f).unlink(),
        "JPEGImages/train_000: no file with one of the endings .jpg .jpeg .png; "
        "add it or take 'train_000' out of train_id.txt",
    ),
    "no label map": (
        lambda f: label_map(f, "val_001").unlink(),
        "gt_masks/val_001: no file with one of the endings .png .npy; "
        "add it or take 'val_001' out of val_id.txt",
    ),
    "another ending": (
        lambda f: photograph(f, "train_001").rename(f / "JPEGImages/train_001.gif"),
        "JPEGImages/train_001: no file with one of the endings",
    ),
    "ending in letters of both cases": (
        lambda f: photograph(f, "train_003").rename(f / "JPEGImages/train_003.Jpg"),
        "JPEGImages/train_003: no file with one of the endings .jpg .jpeg .png (there is "
        "train_003.Jpg; its ending has to be one of these, in small letters or in capitals: rename "
        "or convert it); add it or take",
    ),
    "label map of another kind": (
        lambda f: label_map(f).rename(f / "gt_masks/train_000.webp"),
        "gt_masks/train_000: no file with one of the endings .png .npy (there is train_000.webp; "
        "its ending has to be one of these, in small letters or in capitals: rename or convert it)",
    ),
    "id in letters of another case": (
        lambda f: append(f / "val_id.txt", "VAL_000\n"),
        "gt_masks/VAL_000: no file with one of the endings .png .npy (there is val_000.png; small "
        "and capital letters differ, write the id as the file); add it or take",
    ),
    "accent that is a letter of its own": (
        lambda f: (
            photograph(f, "Zoe\u0308").touch(),
            label_map(f, "Zoe\u0308").touch(),
            append(f / "val_id.txt", "Zo\u00eb\n"),
        ),
        "JPEGImages/Zo\u00eb: no file with one of the endings .jpg .jpeg .png (there is "
        "Zoe\u0308.jpg, which looks alike but has its accents as letters of their own, or in one "
        "with others: copy its name into the list); add it or take",
    ),
    "link that no list names": (
        lambda f: (f / "gt_masks/old.png").symlink_to("older.png"),
        "gt_masks/old.png: leads nowhere; remove the link",
    ),
    "two photographs of one id": (
        lambda f: photograph(f, "train_002").with_suffix(".png").touch(),
        "JPEGImages/train_002: there are train_002.jpg and train_002.png; keep one",
    ),
    "two label maps of one id": (
        lambda f: np.save(f / "gt_masks/train_003.npy", np.zeros(SHAPE, np.uint8)),
        "gt_masks/train_003: there are train_003.png and train_003.npy; keep one",
    ),
    "photograph outside": (
        lambda f: link_out(photograph(f, "val_000")),
        "JPEGImages/val_000.jpg: leads out of the data set folder",
    ),
    "label map outside": (
        lambda f: link_out(label_map(f, "val_000")),
        "gt_masks/val_000.png: leads out of the data set folder",
    ),
    "photograph links to itself": (
        lambda f: instead(photograph(f, "val_001"), lambda p: p.symlink_to(p)),
        "JPEGImages/val_001.jpg: is no file; replace it",
    ),
    "label map is a folder": (
        lambda f: instead(label_map(f, "train_001"), Path.mkdir),
        "gt_masks/train_001.png: is no file; replace it",
    ),
    "label map is a pipe": (
        lambda f: instead(label_map(f, "train_002"), os.mkfifo),
        "gt_masks/train_002.png: is no file; replace it",
    ),
    "id listed twice": (
        lambda f: append(f / "train_id.txt", "train_001\n"),
        "train_id.txt: 'train_001' stands there 2 times; keep one",
    ),
    "splits overlap": (
        lambda f: append(f / "val_id.txt", "train_003\n"),
        "'train_003' is in train_id.txt and in val_id.txt; keep one",
    ),
    "id is the parent folder": (
        lambda f: append(f / "train_id.txt", "..\n"),
        "train_id.txt: '..' is no id; needs a file name without its ending",
    ),
    "id leads elsewhere": (
        lambda f: append(f / "val_id.txt", "../gt_masks/val_000\n"),
        "val_id.txt: '../gt_masks/val_000' is no id",
    ),
    "id is an absolute path": (
        lambda f: append(f / "val_id.txt", "/etc/passwd\n"),
        "val_id.txt: '/etc/passwd' is no id",
    ),
    "id with a backslash": (
        lambda f: append(f / "val_id.txt", "..\\secret\n"),
        "val_id.txt: '..\\\\secret' is no id",
    ),
    "id with a zero byte": (
        lambda f: append(f / "val_id.txt", "val\0\n"),
        "val_id.txt: 'val\\x00' is no id",
    ),
    "id with its ending": (
        lambda f: append(f / "val_id.txt", "val_000.jpg\n"),
        "gt_masks/val_000.jpg: no file with one of the endings",
    ),
    "id longer than a name": (
        lambda f: append(f / "val_id.txt", "x" * 5000 + "\n"),
        "xxx: no file with one of the endings",
    ),
    "other class name": (
        lambda f: replace(f / "classes.txt", "4: head", "4: face"),
        "classes.txt: id 4 is 'face', in the tree 'head'; make them agree",
    ),
    "class is missing": (
        lambda f: replace(f / "classes.txt", "6: up_hand\n", ""),
        "classes.txt: id 6 is 'absent', in the tree 'up_hand'",
    ),
    "class is unknown": (
        lambda f: append(f / "classes.txt", "9: wing\n"),
        "classes.txt: id 9 ('wing') is not in the tree; add it there, or label its pixels 255 "
        "and take the line out",
    ),
}
# These say the same twice: of the photograph and of the label map.
TWICE = {
    "id with its ending",
    "id longer than a name",
    "id in letters of another case",
    "accent that is a letter of its own",
}

# These hide the rest of their file, so they come alone.
FILES: dict[str, tuple[Damage, str]] = {
    "no id file": (lambda f: (f / "val_id.txt").unlink(), "val_id.txt: [Errno 2] No such file"),
    "id file is a folder": (
        lambda f: instead(f / "val_id.txt", Path.mkdir),
        "val_id.txt: [Errno 21] Is a directory",
    ),
    "id file outside": (
        lambda f: link_out(f / "val_id.txt"),
        "val_id.txt: leads out of the data set folder",
    ),
    "empty id file": (
        lambda f: (f / "val_id.txt").write_text("\n \n"),
        "val_id.txt: is empty; needs one id a line",
    ),
    "id file is Latin-1": (
        lambda f: recode(f / "train_id.txt", "latin-1", "café\n"),
        "train_id.txt: 'utf-8' codec can't decode",
    ),
    "id file is UTF-16": (
        lambda f: recode(f / "train_id.txt", "utf-16"),
        "train_id.txt: 'utf-8' codec can't decode",
    ),
    "no classes.txt": (
        lambda f: (f / "classes.txt").unlink(),
        "classes.txt: [Errno 2] No such file",
    ),
    "classes.txt outside": (
        lambda f: link_out(f / "classes.txt"),
        "classes.txt: leads out of the data set folder",
    ),
    "line of another form": (
        lambda f: append(f / "classes.txt", "seven: wing\n"),
        "'seven: wing' is not `<id>: <name>`",
    ),
    "class id below zero": (
        lambda f: append(f / "classes.txt", "-1: wing\n"),
        "'-1: wing' is not `<id>: <name>`",
    ),
    "class id twice": (
        lambda f: append(f / "classes.txt", "1: low_hand\n"),
        "id 1 stands there twice",
    ),
}


@pytest.mark.parametrize("damage", LISTS | FILES)
def test_each_damage_of_the_lists_has_its_own_message(damage, folder, tree):
    break_it, message = (LISTS | FILES)[damage]
    break_it(folder.path)
    problems = problems_of(folder.path, tree)
    assert len(problems) == 1 + (damage in TWICE)
    assert any(message in problem for problem in problems)


def test_all_damages_of_the_lists_come_at_once(folder, tree):
    for break_it, _ in LISTS.values():
        break_it(folder.path)
    problems = listing_problems(DatasetFolder(folder.path), tree)
    for damage, (_, message) in LISTS.items():
        assert any(message in problem for problem in problems), damage


def test_a_missing_folder_is_named_with_the_param_that_names_it(tmp_path, tree):
    [problem] = problems_of(tmp_path / "none", tree)
    assert problem == f"{tmp_path / 'none'}: no such folder; set data.folder in params.yaml"


def test_an_error_shows_twenty_problems_and_counts_all():
    error = DatasetError(DatasetFolder("people"), [f"problem {i}" for i in range(23)])
    first, *shown = str(error).splitlines()
    assert first == "data set people: 23 problems"
    assert len(shown) == 21
    assert shown[-1].strip() == "... and 3 more"
    assert len(error.problems) == 23
