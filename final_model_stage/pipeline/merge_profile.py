"""Merge a profile into params.yaml: what differs for other data, in a workspace of its own.

    python -m final_model_stage.pipeline.merge_profile profiles/lip.yaml --data lip --out p.yaml

Single keys of the profile replace those of params.yaml at any depth. A profile with a tree brings
all of its experts and pairs of `swap` too, since those of params.yaml belong to another tree. What
params.yaml says of its data is not said of others': a profile says it, or only the name is told.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from preprocessing_stage.converters.import_dataset import data_section
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.params import ParamsError, plain_path, read_yaml
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.params import merge


def merge_profile(params: dict[str, Any], profile: dict[str, Any], data: Path) -> dict[str, Any]:
    """The params of a profile on the data set folder `data`."""
    base = merge(params, {"data": data_section(data)})
    if "tree" in profile:
        base |= {"tree": {}, "swap": [], "experts": {}}
    return merge(merge(base, profile), {"data": {"folder": str(data)}})


@exits_on_user_error()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("profile", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    params, profile = read_yaml(PARAMS_FILE), read_yaml(arguments.profile)
    plain_path(str(arguments.data.absolute()))  # before the workspace is one of these data
    merged = merge_profile(params, profile, arguments.data.absolute())
    if (former := _data_of(arguments.out)) not in (None, merged["data"]["folder"]):
        raise UserError(
            f"{arguments.out.parent}: holds results on {former}; copy the profile to another name "
            f"for {arguments.data}, or remove the folder"
        )
    with atomic_write(arguments.out, encoding="utf-8") as file:
        file.write(f"# Made of {PARAMS_FILE} and {arguments.profile}: edit these.\n")
        YAML().dump(merged, file)


def _data_of(path: Path) -> str | None:
    """The data set of a params file; None if there is none."""
    try:
        folder: str = read_yaml(path)["data"]["folder"]
    except (ParamsError, KeyError, TypeError):
        return None
    return folder


if __name__ == "__main__":
    main()
