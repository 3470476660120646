"""A data set folder: what is read from it, and that every damage is found and named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessing_stage.check_dataset import (
    DatasetError,
    listing_problems,
    read_pair,
    read_pairs,
)
from preprocessing_stage.dataset_folder import DatasetFolder, read_image, read_labels
from preprocessing_stage.pack_samples import pack


@pytest.fixture
def folder(make_dataset, tmp_path) -> DatasetFolder:
    return make_dataset(tmp_path / "data", train=4)


def photograph(folder: Path, sample: str = "train_000") -> Path:
    return folder / "JPEGImages" / f"{sample}.jpg"


def label_map(folder: Path, sample: str = "train_000") -> Path:
    return folder / "gt_masks" / f"{sample}.png"


def as_npy(folder: Path, sample: str) -> Path:
    """The label map as .npy instead of .png."""
    png = label_map(folder, sample)
    np.save(png.with_suffix(".npy"), read_labels(png))
    png.unlink()
    return png.with_suffix(".npy")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def link_out(path: Path) -> None:
    outside = path.parent.parent.parent / f"outside{path.suffix}"
    path.rename(outside)
    path.symlink_to(outside)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


# --- what shows in the lists -------------------------------------------------------------------

LISTING_DAMAGES = {
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
    "photograph outside": (
        lambda f: link_out(photograph(f, "train_001")),
        "JPEGImages/train_001.jpg: leads out of the data set folder",
    ),
    "label map outside": (
        lambda f: link_out(label_map(f, "train_002")),
        "gt_masks/train_002.png: leads out of the data set folder",
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
        "classes.txt: id 9 ('wing') is not in the tree; add it there or label it 255",
    ),
}

# These hide the rest of their file, so they come alone.
FILE_DAMAGES = {
    "no id file": (lambda f: (f / "val_id.txt").unlink(), "val_id.txt: [Errno 2] No such file"),
    "empty id file": (
        lambda f: (f / "val_id.txt").write_text("\n \n"),
        "val_id.txt: is empty; needs one id a line",
    ),
    "id file is not UTF-8": (
        lambda f: (f / "train_id.txt").write_bytes(b"caf\xe9\n"),
        "train_id.txt: 'utf-8' codec can't decode",
    ),
    "no classes.txt": (
        lambda f: (f / "classes.txt").unlink(),
        "classes.txt: [Errno 2] No such file",
    ),
    "line of another form": (
        lambda f: append(f / "classes.txt", "seven: wing\n"),
        "'seven: wing' is not `<id>: <name>`",
    ),
    "class id twice": (
        lambda f: append(f / "classes.txt", "1: low_hand\n"),
        "id 1 stands there twice",
    ),
}


def test_an_undamaged_folder_has_no_problem(folder, tree):
    assert listing_problems(folder, tree) == []


@pytest.mark.parametrize("damage", LISTING_DAMAGES | FILE_DAMAGES)
def test_each_damage_of_the_lists_has_its_own_message(damage, folder, tree):
    break_it, message = (LISTING_DAMAGES | FILE_DAMAGES)[damage]
    break_it(folder.path)
    [problem] = listing_problems(DatasetFolder(folder.path), tree)
    assert message in problem


def test_all_damages_of_the_lists_come_at_once(folder, tree):
    for break_it, _ in LISTING_DAMAGES.values():
        break_it(folder.path)
    problems = listing_problems(DatasetFolder(folder.path), tree)
    assert len(problems) == len(LISTING_DAMAGES)
    for _, message in LISTING_DAMAGES.values():
        assert sum(message in problem for problem in problems) == 1


def test_a_missing_folder_is_named_with_the_param_that_names_it(tmp_path, tree):
    [problem] = listing_problems(DatasetFolder(tmp_path / "none"), tree)
    assert problem == f"{tmp_path / 'none'}: no such folder; set data.folder in params.yaml"


def test_the_background_may_have_any_name(folder, tree):
    replace(folder.path / "classes.txt", "0: background", "0: bg")
    assert listing_problems(folder, tree) == []


def test_an_error_shows_twenty_problems_and_counts_all():
    error = DatasetError(DatasetFolder("people"), [f"problem {i}" for i in range(23)])
    first, *shown = str(error).splitlines()
    assert first == "data set people: 23 problems"
    assert len(shown) == 21
    assert shown[-1].strip() == "... and 3 more"
    assert len(error.problems) == 23


@pytest.mark.parametrize(
    "text",
    [
        b"a\r\nb c\r\n",
        b"\xef\xbb\xbfa\nb c\n",
        b"\xef\xbb\xbfa\r\nb c",
        b"a\nb c",
        b"\n  a  \n\n\tb c\n\n",
        b"a\rb c\r",
    ],
)
def test_ids_are_read_whatever_the_line_ends_the_bom_and_the_blanks(text, tmp_path):
    (tmp_path / "train_id.txt").write_bytes(text)
    assert DatasetFolder(tmp_path).ids("train") == ["a", "b c"]


def test_class_names_are_read_with_crlf_and_bom(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbf0: bg\r\n\r\n 12 :leg\r\n")
    assert DatasetFolder(tmp_path).class_names() == {0: "bg", 12: "leg"}


# --- what shows in the files -------------------------------------------------------------------


def save_as(path: Path, array: np.ndarray, **how) -> None:
    Image.fromarray(array).save(path, "PNG", **how)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def npy_of(path: Path, array: np.ndarray) -> None:
    path.unlink()
    np.save(path.with_suffix(".npy"), array)


def npz_called_npy(path: Path) -> None:
    packed = io.BytesIO()
    np.savez(packed, labels=read_labels(path))
    path.unlink()
    path.with_suffix(".npy").write_bytes(packed.getvalue())


def broken_npy_header(path: Path) -> None:
    npy = as_npy(path.parent.parent, path.stem)
    npy.write_bytes(npy.read_bytes().replace(b")", b" ", 1))


def broken_exif(path: Path) -> None:
    """A photograph to be turned, with text for the unit of its resolution."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0128] = 6, 2
    Image.new("RGB", (24, 32)).save(path, exif=exif)
    number, text = b"\x01\x28\x00\x03", b"\x01\x28\x00\x02"
    assert number in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(number, text))


def other_labels(path: Path, change) -> None:
    Image.fromarray(change(read_labels(path).copy())).save(path)


def with_ids(labels: np.ndarray, *ids: int) -> np.ndarray:
    labels.flat[: len(ids)] = ids
    return labels


# Photograph, label map -> damage; name of the damaged file or sample, what is said of it.
SAMPLE_DAMAGES = {
    "truncated JPEG": (lambda i, m: cut(i, 0.95), "JPEGImages/{}.jpg: ", "is truncated"),
    "photograph is text": (
        lambda i, m: i.write_text("no picture"),
        "JPEGImages/{}.jpg: ",
        "cannot identify image file",
    ),
    "photograph is empty": (lambda i, m: i.write_bytes(b""), "JPEGImages/{}.jpg: ", "cannot"),
    "photograph of 16 bits": (
        lambda i, m: save_as(i, np.full((24, 32), 9000, np.uint16)),
        "JPEGImages/{}.jpg: ",
        "picture mode is I;16, needs 8 bits a channel",
    ),
    "broken EXIF": (
        lambda i, m: broken_exif(i),
        "JPEGImages/{}.jpg: ",
        "required argument is not an integer",
    ),
    "photograph links to itself": (lambda i, m: link_to_itself(i), "JPEGImages/{}.jpg: ", "link"),
    "label map of 16 bits": (
        lambda i, m: save_as(m, np.ones((24, 32), np.uint16)),
        "gt_masks/{}.png: ",
        "picture mode is I;16, needs 8-bit palette or gray",
    ),
    "label map in RGB": (
        lambda i, m: save_as(m, np.ones((24, 32, 3), np.uint8)),
        "gt_masks/{}.png: ",
        "picture mode is RGB, needs 8-bit palette or gray",
    ),
    "label map of 1 bit": (
        lambda i, m: save_as(m, np.ones((24, 32), bool)),
        "gt_masks/{}.png: ",
        "picture mode is 1, needs",
    ),
    "truncated label map": (lambda i, m: cut(m, 0.6), "gt_masks/{}.png: ", "runcated"),
    "pickled label map": (
        lambda i, m: npy_of(m, np.array([{"run": "me"}], object)),
        "gt_masks/{}.npy: ",
        "Object arrays cannot be loaded when allow_pickle=False",
    ),
    "label map of int64": (
        lambda i, m: npy_of(m, np.zeros((24, 32), np.int64)),
        "gt_masks/{}.npy: ",
        "array is int64 (24, 32), needs uint8 (height, width)",
    ),
    "label map of float": (
        lambda i, m: npy_of(m, np.zeros((24, 32))),
        "gt_masks/{}.npy: ",
        "array is float64 (24, 32), needs uint8",
    ),
    "label map of bool": (
        lambda i, m: npy_of(m, np.zeros((24, 32), bool)),
        "gt_masks/{}.npy: ",
        "array is bool (24, 32), needs uint8",
    ),
    "label map with channels": (
        lambda i, m: npy_of(m, np.zeros((24, 32, 1), np.uint8)),
        "gt_masks/{}.npy: ",
        "array is uint8 (24, 32, 1), needs uint8 (height, width)",
    ),
    "truncated npy": (
        lambda i, m: cut(as_npy(m.parent.parent, m.stem), 0.6),
        "gt_masks/{}.npy: ",
        "could only read",
    ),
    "empty npy": (
        lambda i, m: as_npy(m.parent.parent, m.stem).write_bytes(b""),
        "gt_masks/{}.npy: ",
        "EOF",
    ),
    "npz called npy": (lambda i, m: npz_called_npy(m), "gt_masks/{}.npy: ", "magic string"),
    "broken npy header": (lambda i, m: broken_npy_header(m), "gt_masks/{}.npy: ", "EOF"),
    "sizes differ": (
        lambda i, m: other_labels(m, lambda labels: labels[:-1]),
        "{}: ",
        "image is 32 x 24, label map 32 x 23; make their sizes equal",
    ),
    "sizes are exchanged": (
        lambda i, m: other_labels(m, lambda labels: labels.T),
        "{}: ",
        "image is 32 x 24, label map 24 x 32; make their sizes equal",
    ),
    "unknown ids": (
        lambda i, m: other_labels(m, lambda labels: with_ids(labels, 7, 254, 255, 7)),
        "gt_masks/{}.png: ",
        "has ids [7, 254] that are not in the tree",
    ),
}


@pytest.mark.parametrize("damage", SAMPLE_DAMAGES)
def test_each_damage_of_a_file_has_its_own_message(damage, folder, tree):
    break_it, start, message = SAMPLE_DAMAGES[damage]
    break_it(photograph(folder.path), label_map(folder.path))
    problem = read_pair(DatasetFolder(folder.path), "train_000", tree)
    assert isinstance(problem, str)
    assert problem.startswith(start.format("train_000"))
    assert message in problem


def test_all_damages_of_files_come_at_once(make_dataset, tree, tmp_path):
    damages = list(SAMPLE_DAMAGES.values())
    train = 2 * len(damages)
    folder = make_dataset(tmp_path / "data", train=train)
    samples = [f"train_{index:03d}" for index in range(0, train, 2)]  # these lie, 32 x 24
    for (break_it, _, _), sample in zip(damages, samples, strict=True):
        break_it(photograph(folder.path, sample), label_map(folder.path, sample))
    with pytest.raises(DatasetError) as error:
        pack(DatasetFolder(folder.path), tree, 32, tmp_path / "packed")
    assert len(error.value.problems) == len(damages)
    for problem, (_, start, message), sample in zip(
        error.value.problems, damages, samples, strict=True
    ):
        assert problem.startswith(start.format(sample)) and message in problem


def test_a_pickle_is_never_run(folder, tree, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    npy_of(label_map(folder.path), np.array([Touch()], object))
    assert isinstance(read_pair(DatasetFolder(folder.path), "train_000", tree), str)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png"])
def test_photographs_may_be_jpeg_or_png(suffix, folder, tree):
    old = photograph(folder.path)
    expected = read_image(old)
    with Image.open(old) as image:
        image.load()
    new = old.rename(old.with_suffix(suffix))
    if suffix == ".png":
        image.save(new)
    pair = read_pair(DatasetFolder(folder.path), "train_000", tree)
    np.testing.assert_array_equal(pair.image, expected)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_label_map_in_npy_is_the_one_in_png(order, folder, tree):
    expected = read_labels(label_map(folder.path))
    npy_of(label_map(folder.path), np.array(expected, order=order))
    pair = read_pair(DatasetFolder(folder.path), "train_000", tree)
    np.testing.assert_array_equal(pair.labels, expected)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_label_maps_hold_ids_as_palette_or_gray(mode, tmp_path):
    ids = np.array([[0, 6, 255], [3, 3, 1]], np.uint8)
    image = Image.fromarray(ids)
    if mode == "P":
        image.putpalette([200] * 768)
    image.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as saved:
        assert saved.mode == mode
    np.testing.assert_array_equal(read_labels(tmp_path / "x.png"), ids)


def test_photographs_are_turned_as_exif_says_and_label_maps_fit_the_turned_one(folder, tree):
    path = photograph(folder.path)
    upright = np.zeros((32, 24, 3), np.uint8)
    upright[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right
    Image.fromarray(np.rot90(upright)).save(path, exif=exif, quality=100)
    labels = np.zeros((32, 24), np.uint8)
    labels[:8] = 4
    Image.fromarray(labels).save(label_map(folder.path))
    pair = read_pair(folder, "train_000", tree)
    np.testing.assert_array_equal(pair.image[..., 1] > 127, pair.labels == 4)


def test_gray_and_transparent_photographs_become_rgb(tmp_path):
    save_as(tmp_path / "gray.png", np.full((2, 3), 7, np.uint8))
    save_as(tmp_path / "clear.png", np.full((2, 3, 4), 9, np.uint8))
    assert read_image(tmp_path / "gray.png").tolist() == np.full((2, 3, 3), 7).tolist()
    assert read_image(tmp_path / "clear.png").tolist() == np.full((2, 3, 3), 9).tolist()


def test_pairs_come_in_the_order_of_the_ids_with_problems_among_them(folder, tree):
    cut(photograph(folder.path, "train_001"), 0.5)
    ids = ["val_000", "train_001", "train_000"] * 20
    found = list(read_pairs(folder, ids, tree, lambda pair: pair.id))
    assert [name if name in ids else "broken" for name in found] == [
        "val_000",
        "broken",
        "train_000",
    ] * 20
