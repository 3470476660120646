"""Compare two segmenters on the same photographs: is one better, or were they lucky?

    python -m final_model_stage.compare_segmenters models/segmenter runs/b/models/segmenter photos

Prints mIoU of each level of both, dataset level, and how far the second is above the first, with a
95 % interval over resampled photographs, the same ones for both. If 0 lies outside, other
photographs of this kind would hardly turn the order round; another seed of the training still
might.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from final_model_stage.evaluation.metrics import dataset_level_miou, difference_intervals
from final_model_stage.params import load_final_params
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.dataset.user_error import (
    UserError,
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
    parser.add_argument("first", type=Path, help="folder with segmenter.json")
    parser.add_argument("second", type=Path, help="another, of the same tree")
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument(
        "--fast",
        choices=["first", "second", "both"],
        default="neither",
        help="which are to predict one view by each expert",
    )
    parser.add_argument(
        "--params", type=Path, default=PARAMS_FILE, help="its section `final`, default %(default)s"
    )
    arguments = parser.parse_args()
    params = load_final_params(arguments.params)
    folder = DatasetFolder(arguments.data)
    with exits_on_user_error(ValueError):
        segmenters = [
            TorchSegmenter.load(path, params.precision, fast=arguments.fast in (which, "both"))
            for which, path in (("first", arguments.first), ("second", arguments.second))
        ]
    tree, other = (segmenter.tree for segmenter in segmenters)
    if tree.to_dict() != other.to_dict():
        raise UserError(
            f"{arguments.second}: has another tree than {arguments.first}, so their figures are "
            "not of the same classes"
        )
    if problems := listing_problems(folder, tree, [arguments.split]):
        raise DatasetError(folder, problems)
    counts = [evaluate(s, folder, arguments.split, with_oracle=False).counts for s in segmenters]
    first, second = (dataset_level_miou(own, tree) for own in counts)
    intervals = difference_intervals(counts[0], counts[1], tree, params.bootstrap, params.seed)
    print(f"{len(counts[0])} images    first   second   second - first")
    for name, of_first in first.items():
        low, high = intervals[name].values()
        print(
            f"{name:12}  {of_first:.3f}    {second[name]:.3f}   "
            f"{second[name] - of_first:+.3f} [{low:+.3f}, {high:+.3f}]"
        )


if __name__ == "__main__":
    main()
