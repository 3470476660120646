"""Put the trained experts together into one folder, models/segmenter.

`python -m final_model_stage.build_segmenter` takes them from models/experts.
"""

from __future__ import annotations

import argparse
import json

from safetensors.torch import load_file

from final_model_stage.chain.files import write_segmenter
from final_model_stage.chain.settings import make_settings
from final_model_stage.params import load_final_params
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import EXPERTS, SEGMENTER
from train_stage.model import Expert
from train_stage.params import load_train_params
from train_stage.weights_file import read_metadata


def check_order(expert: str, trained: dict[str, object], tree: ClassTree) -> None:
    """Outputs of an expert that learns children stand in their order, to DVC all orders are alike.

    trained: the tree of the training. Raises UserError if siblings stand otherwise.
    """
    if json.dumps(trained) != json.dumps(tree.to_dict()):
        raise UserError(
            f"tree: siblings stand in another order than when {expert} was trained; put them back, "
            f"or train it anew with `dvc repro --force --single-item train@{expert}`"
        )


@exits_on_user_error()
def main() -> None:
    preprocessing, final = load_preprocessing_params(), load_final_params()
    tree = preprocessing.class_tree
    trained = load_train_params().experts
    settings = make_settings(tree, preprocessing.data.longest_side, final, trained)
    experts, metadata = {}, {}
    for name in tree.experts:
        path = EXPERTS / f"{name}.safetensors"
        experts[name] = Expert(trained[name].model, tree.leaves_of_children(name))
        experts[name].load_state_dict(load_file(path))
        metadata[name] = read_metadata(path)
        if trained[name].model.targets == "children":
            check_order(name, json.loads(metadata[name]["training"])["tree"], tree)
    write_segmenter(SEGMENTER, settings, experts, metadata)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
