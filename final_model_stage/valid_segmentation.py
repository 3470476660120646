"""Segment photographs and look at the result: the example of how a segmenter is used.

    python -m final_model_stage.valid_segmentation [ID_OR_FILE ...]

ID_OR_FILE is an id of the validation split or an image file; without any, some validation images
are chosen at random. Writes a picture of each image (photograph, truth where it is known,
prediction at each level) and sheet.png with all of them.

In a program of your own it takes four lines:

    from final_model_stage.segmenter import Segmenter
    from preprocessing_stage.dataset.dataset_folder import read_image

    segmenter = Segmenter.load("models/segmenter")
    labels = segmenter(read_image("photograph.jpg"))  # (H, W) uint8, the leaf id of each pixel
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deploy.predict.sources import find_segmenter
from final_model_stage.reporting.figures import Row, panel_figure, save
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.check_dataset import DatasetError, read_pair, sound
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder, read_image
from preprocessing_stage.params import load_params

OUT = Path("results/valid_segmentation")
SHEET = "sheet"
DEFAULT_RANDOM = 6
"""Images chosen at random if none is named."""

MAX_IMAGES = 100
"""Images on a sheet; matplotlib draws no picture higher than 65,536 pixels."""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    count = arguments.random
    if count is None:
        count = 0 if arguments.sources else DEFAULT_RANDOM
    try:
        folder = DatasetFolder(arguments.data or load_params().data.folder)
        sources = find_sources(arguments.sources, folder, count=count, seed=arguments.seed)
        segmenter = Segmenter.load(arguments.segmenter or find_segmenter())
        samples = [read(name, file, folder, segmenter.tree) for name, file in sources.items()]
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error

    rows = [
        Row(name, image, segmenter(image), truth)
        for name, (image, truth) in zip(sources, samples, strict=True)
    ]
    for name, some in [*((row.id, [row]) for row in rows), (SHEET, rows)]:
        path = arguments.out / f"{name}.png"
        save(panel_figure(some, segmenter.tree), path)
        print(path)


def find_sources(
    wanted: Sequence[str], folder: DatasetFolder, *, count: int, seed: int
) -> dict[str, Path | None]:
    """Name of each picture to make -> its image file, None for a validation image.

    wanted: image files and validation ids. count: validation images chosen at random besides.
    Raises ValueError that names whatever is neither.
    """
    files = [word for word in wanted if Path(word).is_file()]
    ids = _validation_ids(folder) if count or len(files) < len(wanted) else []
    unknown = [word for word in dict.fromkeys(wanted) if word not in files and word not in ids]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: neither an image file nor one of the {len(ids)} ids in "
            f"{folder.path}/val_id.txt, the first of which is {ids[0] if ids else 'missing'}"
        )
    sources: dict[str, Path | None] = {word: None for word in wanted if word not in files}
    order = np.random.default_rng(seed).permutation(len(ids))[:count]
    sources |= {ids[i]: None for i in order}
    for file in dict.fromkeys(files):
        stem = name = Path(file).stem
        number = 2
        while name in sources or name == SHEET:  # no picture may overwrite another
            name, number = f"{stem}_{number}", number + 1
        sources[name] = Path(file)
    if len(sources) > MAX_IMAGES:
        raise ValueError(f"{len(sources)} images are too many for a sheet of at most {MAX_IMAGES}")
    return sources


def read(
    name: str, file: Path | None, folder: DatasetFolder, tree: ClassTree
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image (H, W, 3) uint8 and, if it is known, its label map (H, W) uint8."""
    path = file or folder.image_path(name)
    if path is None:
        raise DatasetError(folder, [f"JPEGImages/{name}: no such image"])
    if file or folder.label_path(name) is None:
        try:
            return read_image(path), None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {error}; give another file") from error
    pair = sound(folder, read_pair(folder, name, tree))
    return pair.image, pair.labels


def _validation_ids(folder: DatasetFolder) -> list[str]:
    try:
        return folder.ids("val")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename}: no such file; give --data, or run ./pipeline.sh to make the data"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", metavar="ID_OR_FILE")
    parser.add_argument("--segmenter", type=Path, help="folder with segmenter.json")
    parser.add_argument("--data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument(
        "--random", type=_count, metavar="N", help=f"draw N validation images, at most {MAX_IMAGES}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder, default {OUT}")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_IMAGES:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 to {MAX_IMAGES}")
    return int(text)


if __name__ == "__main__":
    main()
