"""Write the model card of a segmenter that is to be published: its README.md.

    cp -r models/segmenter pretrained/mine
    python -m deploy.model_card pretrained/mine results/final/metrics.json

The card says what the segmenter is, what it was trained on and for, how well it performs and what
it must not be used for. METRICS is what evaluate_segmenter wrote for the validation split of the
data that the params describe.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.user_error import (
    UserError,
    exits_on_user_error,
    exits_without_pytorch,
)
from preprocessing_stage.params import load_preprocessing_params
from preprocessing_stage.paths import PARAMS_FILE
from train_stage.params import load_train_params

with exits_without_pytorch():
    from deploy.model_card.card import CARD, card_text, mismatches
    from final_model_stage.torch_segmenter import TorchSegmenter


@exits_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    folder = arguments.segmenter
    with exits_on_user_error(ValueError):
        segmenter = TorchSegmenter.load(folder)
        figures = json.loads(arguments.metrics.read_text())
        preprocessing = load_preprocessing_params(arguments.params)
        trained = load_train_params(arguments.params)
    if not isinstance(figures, dict):
        raise UserError(
            f"{arguments.metrics}: holds no figures; give the metrics.json of evaluate_segmenter"
        )
    params_tree = preprocessing.class_tree
    if found := mismatches(folder, segmenter.settings, params_tree, trained, figures):
        raise UserError("\n".join(found))
    card = card_text(segmenter, folder.resolve().name, figures, preprocessing.data, trained)
    with atomic_write(folder / CARD, encoding="utf-8") as file:
        file.write(card)
    print(folder / CARD)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.model_card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("segmenter", type=Path, metavar="SEGMENTER", help="folder with segmenter.json")
    add("metrics", type=Path, metavar="METRICS", help="metrics.json of its evaluation")
    add(
        "--params",
        type=Path,
        default=PARAMS_FILE,
        metavar="FILE",
        help="that it was trained with, default %(default)s",
    )
    return parser


if __name__ == "__main__":
    main()
