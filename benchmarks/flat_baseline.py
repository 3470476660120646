"""The flat baseline of the chain: one network for all leaves, judged in the chain's class tree.

    python -m benchmarks.flat_baseline models/shared.safetensors data/mine --split val --out flat

The weights are those of a network that `train_stage.train_shared` trained with these params. Its
parents are sums of their children: whatever it calls a leaf of a node belongs to that node. Writes
metrics.json in the form of the chain's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from final_model_stage.chain.settings import make_settings
from final_model_stage.evaluation.confusion_counts import evaluate
from final_model_stage.evaluation.metrics import summary
from final_model_stage.evaluation.result_files import METRICS, make_folder
from final_model_stage.params import load_final_params
from final_model_stage.print_results import table
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.dataset.check_listing import listing_problems
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.model import Expert
from train_stage.params import load_train_params


def flat_segmenter(weights: Path, params: Path = PARAMS_FILE) -> TorchSegmenter:
    """The network of `weights` as a chain of one expert. Raises OSError, UserError."""
    preprocessing, final = load_preprocessing_params(params), load_final_params(params)
    shared, tree = load_train_params(params).shared, preprocessing.class_tree.flat()
    network = Expert(shared.model, tree.leaves_of_children(tree.root.name))
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{weights}: no shared network of {params}: {str(error).splitlines()[-1].strip()}; "
            "give the params that it was trained with as --params"
        ) from error
    experts = {tree.root.name: shared}
    settings = make_settings(tree, preprocessing.data.longest_side, final, experts)
    return TorchSegmenter(settings, {tree.root.name: network}, final.precision)


@exits_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE, help="that it was trained with")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    final = load_final_params(arguments.params)
    segmenter = flat_segmenter(arguments.weights, arguments.params)
    # Its leaves are in the flat tree's order.
    tree = load_preprocessing_params(arguments.params).class_tree
    folder = DatasetFolder(arguments.data)
    if problems := listing_problems(folder, tree, [arguments.split]):
        raise DatasetError(folder, problems)
    make_folder(arguments.out)
    evaluation = evaluate(segmenter, folder, arguments.split)
    figures = summary(evaluation.counts, {}, tree, resamplings=final.bootstrap, seed=final.seed)
    write_json(arguments.out / METRICS, figures)
    print(table(figures))


if __name__ == "__main__":
    main()
