"""Train the network that all experts start from: `python -m train_stage.train_shared`.

One UNet of the experts' own shape sees the whole image and tells all leaves apart. It knows what
a body and its parts look like before an expert specialises, so each expert needs few epochs. By
itself it is the flat network that the chain has to beat.
"""

from __future__ import annotations

import argparse

from preprocessing_stage.params import load_params as load_preprocessing_params
from preprocessing_stage.paths import SHARED_FILE
from train_stage.params import SHARED, load_params
from train_stage.train_expert import run


def main() -> None:
    tree = load_preprocessing_params().class_tree.flat()
    params = load_params()
    run(SHARED, tree.root.name, tree, params.shared, params.machine, SHARED_FILE)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
