"""The flat rival of the chain: one network for all leaves, judged in the chain's class tree.

    python -m benchmarks.flat_rival WEIGHTS DATA --split val --out DIR

WEIGHTS is a network that `train_stage.train_common` trained, with the params of params.yaml in the
working directory. Its parents are sums of their children: whatever it calls a leaf of a node
belongs to that node. Writes DIR/metrics.json in the form of the chain's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file

from final_model_stage.evaluate import evaluate
from final_model_stage.metrics import summary
from final_model_stage.params import load_params
from final_model_stage.print_results import table
from final_model_stage.segmenter import ExpertSettings, Segmenter, Settings
from preprocessing_stage.dataset_folder import SPLITS, DatasetFolder
from preprocessing_stage.params import load_params as load_preprocessing_params
from preprocessing_stage.whole_files import write_json
from train_stage.model import Expert
from train_stage.params import load_params as load_train_params


def flat_segmenter(weights: Path) -> Segmenter:
    """The network of `weights` as a chain of one expert. Raises OSError, RuntimeError."""
    preprocessing, final = load_preprocessing_params(), load_params()
    params, tree = load_train_params().common, preprocessing.class_tree.flat()
    network = Expert(params.model, len(tree.leaves))
    network.load_state_dict(load_file(weights))
    settings = Settings(
        tree=tree.to_dict(),
        longest_side=preprocessing.data.longest_side,
        mode=final.mode,
        second_look=final.second_look,
        mirror=final.mirror,
        passes=final.passes,
        seed=final.seed,
        experts={
            tree.root.name: ExpertSettings(
                input_size=params.input_size, box_margin=params.box_margin, model=params.model
            )
        },
    )
    return Segmenter(settings, {tree.root.name: network}, final.precision)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    params = load_params()
    evaluation = evaluate(
        flat_segmenter(arguments.weights), DatasetFolder(arguments.data), arguments.split
    )
    tree = load_preprocessing_params().class_tree  # its leaves are in the flat tree's order
    figures = summary(evaluation.counts, {}, tree, resamplings=params.bootstrap, seed=params.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "metrics.json", figures)
    print(table(figures))


if __name__ == "__main__":
    main()
