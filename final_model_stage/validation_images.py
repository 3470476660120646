"""The validation images that are at hand, for commands that need some and are given none."""

from __future__ import annotations

import sys
from pathlib import Path

from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.params import ParamsError, load_preprocessing_params
from preprocessing_stage.paths import PARAMS_FILE


def open_data(given: Path | None = None) -> DatasetFolder | None:
    """The data set in the folder `given`, or else the one that params.yaml names.

    None if neither is there: a segmenter also works where the project is only installed. Raises
    ParamsError for a params.yaml with mistakes.
    """
    if given is None and not PARAMS_FILE.exists():
        return None
    return DatasetFolder(given or load_preprocessing_params().data.folder)


def validation_ids(folder: DatasetFolder | None) -> list[str]:
    """Ids of the validation split. Raises FileNotFoundError that says how to get some."""
    if folder is None:
        raise FileNotFoundError(
            f"no {PARAMS_FILE} in {Path.cwd()} to name a data set; give one with --data FOLDER"
        )
    try:
        return folder.ids("val")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename}: no such file; give --data, or run ./pipeline.sh to make the data"
        ) from error


def spread_images(given: Path | None, count: int) -> list[Path]:
    """Up to `count` validation images, evenly spread over the split.

    An empty list if no folder is given and params.yaml names none, or belongs to another program.
    Raises FileNotFoundError if a folder is given that holds no such split.
    """
    try:
        folder = open_data(given)
        ids = validation_ids(folder)
    except (FileNotFoundError, ParamsError) as error:
        if given is not None:
            raise
        if isinstance(error, ParamsError):
            print(f"{str(error).splitlines()[0]}; no validation images", file=sys.stderr)
        return []
    assert folder is not None
    number = min(count, len(ids))
    chosen = [ids[k * len(ids) // number] for k in range(number)]
    return [path for sample in chosen for path in folder.image_paths(sample)[:1]]
