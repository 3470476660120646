"""Segment images and see the results: the example of how a segmenter is used.

    python -m final_model_stage.valid_segmentation                      # random validation images
    python -m final_model_stage.valid_segmentation 2008_000008 photo.webp

ID_OR_FILE is an id of the validation split or an image file; without any, some validation images
are chosen at random. Writes a PNG for each image (photograph, ground truth where it is known,
prediction at each level) and sheet.png with all of them.

In a program of your own it takes a few lines:

    from final_model_stage import Segmenter

    segmenter = Segmenter.load("models/segmenter")
    labels = segmenter("photograph.jpg")  # (H, W) uint8, the leaf id of each pixel
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from final_model_stage.chain.find_segmenter import find_segmenter
from final_model_stage.image_reader import DecodeError, decode_image
from final_model_stage.reporting.figures import Row, panel_figure, save
from final_model_stage.segmentation import Segmenter
from final_model_stage.validation_images import open_data, validation_ids
from preprocessing_stage.dataset.check_dataset import DatasetError, read_pair, sound
from preprocessing_stage.dataset.check_listing import class_problems
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image
from preprocessing_stage.dataset.user_error import exits_on_user_error
from preprocessing_stage.paths import EXAMPLES

SHEET = "sheet"
DEFAULT_RANDOM = 6
"""Images chosen at random if none is named."""

MAX_IMAGES = 100
"""Images on a sheet; matplotlib draws no figure higher than 65,536 pixels."""


@exits_on_user_error(ValueError, ImportError)
def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    count = arguments.random
    if count is None:
        count = 0 if arguments.images else DEFAULT_RANDOM
    needs_data = count or not all(Path(word).is_file() for word in arguments.images)
    folder = open_data(arguments.data) if needs_data else None
    chosen = choose_images(arguments.images, folder, count=count, seed=arguments.seed)
    sheet = free_name(SHEET, chosen)
    paths = [arguments.out / f"{name}.png" for name in [*chosen, sheet]]
    refuse_overwriting(paths, [file for file in chosen.values() if file])
    segmenter = Segmenter.load(find_segmenter(arguments.segmenter))
    samples = [
        (read_file(file), None) if file else read_sample(folder, name, segmenter.tree)
        for name, file in chosen.items()
    ]
    rows = [
        Row(name, image, segmenter(image), truth)
        for name, (image, truth) in zip(chosen, samples, strict=True)
    ]
    for path, some in zip(paths, [*([row] for row in rows), rows], strict=True):
        save(panel_figure(some, segmenter.tree), path)
        print(path)


def choose_images(
    wanted: Sequence[str], folder: DatasetFolder | None, *, count: int, seed: int
) -> dict[str, Path | None]:
    """Name of each figure to make -> its image file, None for a validation image.

    wanted: image files and validation ids. folder: None = no data set, which files do not need.
    count: number of validation images chosen at random in addition. Raises ValueError that names
    everything that is neither a file nor an id, FileNotFoundError if there are no ids.
    """
    files = [word for word in wanted if Path(word).is_file()]
    try:
        ids = validation_ids(folder) if count or len(files) < len(wanted) else []
    except FileNotFoundError as error:
        others = [word for word in dict.fromkeys(wanted) if word not in files]
        if not others:
            raise
        raise FileNotFoundError(
            f"{', '.join(others)}: no such image file; for validation ids: {error}"
        ) from error
    unknown = [word for word in dict.fromkeys(wanted) if word not in files and word not in ids]
    if unknown:
        assert folder is not None
        raise ValueError(
            f"{', '.join(unknown)}: neither an image file nor one of the {len(ids)} ids in "
            f"{folder.path}/val_id.txt, the first of which is {ids[0] if ids else 'missing'}"
        )
    chosen: dict[str, Path | None] = {word: None for word in wanted if word not in files}
    order = np.random.default_rng(seed).permutation(len(ids))[:count]
    chosen |= {ids[i]: None for i in order}
    for file in dict.fromkeys(files):
        chosen[free_name(Path(file).stem, [*chosen, SHEET])] = Path(file)
    if len(chosen) > MAX_IMAGES:
        raise ValueError(f"{len(chosen)} images are too many for a sheet of at most {MAX_IMAGES}")
    return chosen


def free_name(stem: str, taken: Collection[str]) -> str:
    """`stem`, with a number if that name is taken: no file may overwrite another."""
    lowered = {name.casefold() for name in taken}  # as file systems of macOS and Windows compare
    name, number = stem, 2
    while name.casefold() in lowered:
        name, number = f"{stem}_{number}", number + 1
    return name


def refuse_overwriting(paths: Sequence[Path], sources: Sequence[Path]) -> None:
    """Raises ValueError that names the `paths` that exist and are not ours to write over.

    Those of the default folder are, but no image to segment.
    """
    inputs = {path.resolve() for path in sources}
    theirs = [
        str(path)
        for path in paths
        if path.resolve() in inputs or (path.exists() and path.parent != EXAMPLES)
    ]
    if theirs:
        raise ValueError(f"{', '.join(theirs)}: would be written over; give another --out")


def read_file(path: Path) -> np.ndarray:
    """Image (H, W, 3) uint8 of any supported format. Raises ValueError that names the file."""
    try:
        return decode_image(path).image
    except DecodeError as error:
        raise ValueError(f"{path}: {error}") from error


def read_sample(
    folder: DatasetFolder | None, name: str, tree: ClassTree
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image (H, W, 3) uint8 of a validation id and, if there is one, its label map (H, W) uint8.

    Raises FileNotFoundError or ValueError that names the file.
    """
    assert folder is not None, "choose_images found no id without a data set"
    path = folder.image_path(name)
    if not folder.label_paths(name):
        try:
            return read_image(path), None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}; replace the file") from error
    if problems := class_problems(folder, tree):
        raise DatasetError(folder, problems)
    pair = sound(folder, read_pair(folder, name, tree))
    return pair.image, pair.labels


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m final_model_stage.valid_segmentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="ID_OR_FILE")
    add("--segmenter", type=Path, metavar="FOLDER", help="default: the trained or the shipped one")
    add("--data", type=Path, metavar="FOLDER", help="data set, default: that of params.yaml")
    add(
        "--random",
        type=_count,
        metavar="N",
        help=f"N validation images chosen at random, at most {MAX_IMAGES}",
    )
    add("--seed", type=_seed, default=0, help="of the random choice, default %(default)s")
    add("--out", type=Path, default=EXAMPLES, metavar="DIR", help="default %(default)s")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_IMAGES:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to {MAX_IMAGES}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return int(text)


if __name__ == "__main__":
    main()
