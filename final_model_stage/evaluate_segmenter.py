"""Evaluate any segmenter on any data set in the Pascal-Part layout.

    python -m final_model_stage.evaluate_segmenter models/segmenter data/mine --out results/again

Writes the files of evaluation/result_files.py into the folder --out. Needs only the list of the
split that it reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from final_model_stage.evaluation.metrics import summary
from final_model_stage.evaluation.result_files import make_folder, write_results
from final_model_stage.params import load_final_params
from final_model_stage.print_results import table
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.dataset.user_error import (
    exits_on_user_error,
    exits_without_pytorch,
)
from preprocessing_stage.paths import PARAMS_FILE

with exits_without_pytorch():
    from final_model_stage.evaluation.confusion_counts import evaluate
    from final_model_stage.torch_segmenter import TorchSegmenter


@exits_on_user_error()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("segmenter", type=Path, help="folder with segmenter.json")
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fast", action="store_true", help="one view by each expert")
    parser.add_argument(
        "--params", type=Path, default=PARAMS_FILE, help="its section `final`, default %(default)s"
    )
    arguments = parser.parse_args()
    params = load_final_params(arguments.params)
    with exits_on_user_error(ValueError):
        segmenter = TorchSegmenter.load(arguments.segmenter, params.precision, fast=arguments.fast)
    make_folder(arguments.out)
    folder = DatasetFolder(arguments.data)
    if problems := listing_problems(folder, segmenter.tree, [arguments.split]):
        raise DatasetError(folder, problems)
    evaluation = evaluate(segmenter, folder, arguments.split)
    figures = summary(
        evaluation.counts,
        evaluation.oracle_counts,
        segmenter.tree,
        resamplings=params.bootstrap,
        seed=params.seed,
    )
    figures |= {"split": arguments.split, "fast": arguments.fast}
    write_results(evaluation, segmenter.tree, figures, arguments.out)
    print(table(figures))


if __name__ == "__main__":
    main()
