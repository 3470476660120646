"""Check all of params.yaml, and the lists of the data set it names, before anything runs.

`python -m final_model_stage.pipeline.check_params params.yaml` prints every problem at once and
fails if there is one.
"""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path

import torch

from final_model_stage.params import FinalParams, final_problems
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.class_tree import ClassTree, unlisted_sides
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.params import (
    ParamsError,
    load_preprocessing_params,
    preprocessing_problems,
    read_yaml,
)
from preprocessing_stage.paths import (
    EXPERTS,
    OUT_OF_FOLD,
    PARAMS_FILE,
    RENDERED_PEOPLE,
    SHARED_FILE,
)
from preprocessing_stage.rendering.parts import unlike_parts
from train_stage.init_from import Head, head_rows, init_file, init_from
from train_stage.model import Expert, TimmEncoder
from train_stage.params import OF_FOLDS, SHARED, TrainParams, load_train_params, train_problems


def check_all(path: Path = PARAMS_FILE) -> None:
    """Raises ParamsError with the problems of all sections, DatasetError with the data set's."""
    sections = read_yaml(path)
    known = ["tree", "swap", "data", "render_people", "train", "shared", "out_of_fold", "experts"]
    known += ["machine", "final"]
    problems = [
        f"{key}: is no section; they are {', '.join(known)}" for key in sections if key not in known
    ]
    preprocessing, found = preprocessing_problems(sections)
    problems += found
    train, found = train_problems(sections)
    problems += found
    if train:
        problems += _missing_starts(train) + _encoder_problems(train) + _batch_problems(train)
    if train and preprocessing and not problems:
        problems += _unlike_starts(train, preprocessing.class_tree)
    final, found = final_problems(sections)
    problems += found
    problems += _leaf_problems(train, final) if train and final else []
    if problems or preprocessing is None:
        raise ParamsError(path, problems)
    tree, folder = preprocessing.class_tree, DatasetFolder(preprocessing.data.folder)
    # The pipeline itself makes the rendered people; any other data set has to be there.
    if folder.path == RENDERED_PEOPLE:
        if found := unlike_parts(tree):
            raise ParamsError(path, found)
    elif found := listing_problems(folder, tree):
        raise DatasetError(folder, found)


def _missing_starts(train: TrainParams) -> list[str]:
    """Trained networks to start from that are not there, or will not be when they are needed."""
    made_anew = [path.resolve() for path in (SHARED_FILE, OUT_OF_FOLD, EXPERTS)]
    missing = []
    for section, params in train.networks.items():
        if params.init_from in (None, SHARED):  # the pipeline itself makes the shared start
            continue
        try:
            file = init_file(params.init_from, section)
        except FileNotFoundError as error:
            missing.append(str(error))
            continue
        if any(file.resolve().is_relative_to(path) for path in made_anew):
            missing.append(
                f"{section}.init_from: {file} is removed before it is trained anew; copy it to "
                "another folder"
            )
    return missing


def _unlike_starts(train: TrainParams, tree: ClassTree) -> list[str]:
    """Trained networks to start from that are not alike, or damaged."""
    problems = []
    for section, params in train.networks.items():
        if params.init_from in (None, SHARED):
            continue
        whole = section in (SHARED, OF_FOLDS)
        split = tree.flat() if whole else tree
        node = split.root.name if whole else section.removeprefix("experts.")
        try:
            model = Expert(params.model, split.leaves_of_children(node))
            file = init_file(params.init_from, section)
            rows = head_rows(file, Head(split, node, params.model.targets))
            init_from(model, file, section, rows)
        except UserError as error:
            problems.append(f"{section}.{error}")
    return problems


def _encoder_problems(train: TrainParams) -> list[str]:
    """Encoders that timm does not know or whose scales do not fit, and weights for them that are
    not there."""
    networks = {key: p for key, p in train.networks.items() if p.model.encoder != "unet"}
    if not networks:
        return []
    import timm  # takes as long as torch itself

    from train_stage.encoder_weights import no_package

    problems = []
    for key, params in networks.items():
        encoder, weights = params.model.encoder, params.encoder_weights
        if not timm.is_model(encoder):
            alike = get_close_matches(encoder, timm.list_models(), n=3)
            problems.append(
                f"{key}.model.encoder: timm has no {encoder}; "
                f"{'alike are ' + ', '.join(alike) if alike else 'timm.list_models() has all'}"
            )
            continue
        try:
            with torch.device("meta"):  # takes no memory
                TimmEncoder(params.model, 3)
        except UserError as error:
            problems.append(f"{key}.{error}")
        if weights == "package" and (problem := no_package(encoder)):
            problems.append(f"{key}.encoder_weights: {problem}")
        elif weights not in (None, "package", "hub") and not Path(weights).is_file():
            problems.append(f"{key}.encoder_weights: there is no file {weights}")
    return problems


def _batch_problems(train: TrainParams) -> list[str]:
    """Batches without equal shares for all processes, or with shares too small for batch norm, if
    there are samples enough to fill them."""
    devices, problems = train.machine.devices, []
    for key, params in train.networks.items():
        if params.batch_size % devices:
            problems.append(
                f"{key}.batch_size: {params.batch_size} is no multiple of the {devices} of "
                "machine.devices, each of which takes an equal share of every batch"
            )
        elif problem := params.batch_norm_problem(params.batch_size // devices):
            problems.append(f"{key}.{problem}")
    return problems


def _leaf_problems(train: TrainParams, final: FinalParams) -> list[str]:
    """What needs leaves to be told apart where an expert learns children alone."""
    of_children = [n for n, expert in train.experts.items() if expert.model.targets == "children"]
    if not of_children:
        return []
    remedy = f"or set model.targets of {', '.join(of_children)} to leaves"
    problems = [
        f"experts.{name}.init_from: {SHARED} names leaves; set it to null, {remedy}"
        for name in of_children
        if train.experts[name].init_from == SHARED
    ]
    problems += [
        f"experts.{name}.model.parent_channels: is true; set it to false, {remedy}"
        for name, expert in train.experts.items()
        if expert.model.parent_channels
    ]
    if final.average_ancestors:
        problems.append(f"final.average_ancestors: is true; set it to false, {remedy}")
    return problems


@exits_on_user_error()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PARAMS_FILE)
    parser.add_argument(
        "--stamps", type=Path, nargs=2, help="files to write if all is valid, for DVC"
    )
    arguments = parser.parse_args()
    check_all(arguments.file)
    if arguments.stamps:
        regions = {expert.regions for expert in load_train_params(arguments.file).experts.values()}
        # The same for all valid params, and for all that need predictions out of fold.
        words = "params are valid", f"regions: {', '.join(sorted(regions))}"
        for path, text in zip(arguments.stamps, words, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
    for left, right in unlisted_sides(load_preprocessing_params(arguments.file).class_tree):
        print(
            f"WARNING: {left} and {right} look like two sides of one thing: unless "
            f"[{left}, {right}] stands in `swap`, or augmentation.flip is 0 and final.tta_flip "
            "false, flipped images teach the wrong one"
        )
    print(f"{arguments.file}: params are valid")


if __name__ == "__main__":
    main()
