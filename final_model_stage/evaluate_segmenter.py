"""Evaluate any segmenter on any data set in the Pascal-Part layout.

    python -m final_model_stage.evaluate_segmenter SEGMENTER DATA --split val --out DIR

Writes into DIR: metrics.json (all figures), iou.csv (each class), confusion.csv (leaf x leaf
pixels) and images.csv (each image).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from final_model_stage.evaluation.confusion_counts import Evaluation, evaluate
from final_model_stage.evaluation.metrics import mean_iou, summary
from final_model_stage.params import load_params
from final_model_stage.print_results import table
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.atomic_write import atomic_write, refused_in_words, write_json
from preprocessing_stage.dataset.check_dataset import DatasetError, listing_problems
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder


def write(evaluation: Evaluation, tree: ClassTree, figures: dict, out: Path) -> None:
    """The four files into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "metrics.json", figures)
    with atomic_write(out / "iou.csv", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["level", "class", "iou"])
        for level in range(tree.depth):
            for node in tree.level(level):
                rows.writerow([level, node.name, figures["iou"][node.name]])
    leaves = [leaf.name for leaf in tree.leaves]
    with atomic_write(out / "confusion.csv", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["truth", *leaves])
        for name, row in zip(leaves, evaluation.counts.sum(0).tolist(), strict=True):
            rows.writerow([name, *row])
    foreground = [leaf.id != BACKGROUND for leaf in tree.leaves]
    with atomic_write(out / "images.csv", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        levels = range(tree.depth)
        rows.writerow(["id", "foreground_share", *(f"mIoU_{k}" for k in levels)])
        for sample, counts in zip(evaluation.ids, evaluation.counts, strict=True):
            share = counts.sum(1)[foreground].sum() / max(1, counts.sum())
            figures_of_image = [float(mean_iou(counts, tree, k)) for k in levels]
            rows.writerow([sample, f"{share:.6f}", *(f"{v:.6f}" for v in figures_of_image)])


@refused_in_words
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("segmenter", type=Path, help="folder with segmenter.json")
    parser.add_argument("data", type=Path, help="folder in the Pascal-Part layout")
    parser.add_argument("--split", choices=SPLITS, default="val")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fast", action="store_true", help="each expert looks once")
    arguments = parser.parse_args()
    params = load_params()
    try:
        segmenter = Segmenter.load(arguments.segmenter, params.precision, fast=arguments.fast)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    folder = DatasetFolder(arguments.data)
    if problems := listing_problems(folder, segmenter.tree):
        raise SystemExit(str(DatasetError(folder, problems)))
    try:
        evaluation = evaluate(segmenter, folder, arguments.split)
    except DatasetError as error:
        raise SystemExit(str(error)) from error
    figures = summary(
        evaluation.counts,
        evaluation.oracle_counts,
        segmenter.tree,
        resamplings=params.bootstrap,
        seed=params.seed,
    )
    write(evaluation, segmenter.tree, figures, arguments.out)
    print(table(figures))


if __name__ == "__main__":
    main()
