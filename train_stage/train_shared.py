"""Shared pretraining of all experts: `python -m train_stage.train_shared`.

One UNet of the experts' own shape sees the whole image and predicts all leaves. It knows what a
body and its parts look like before an expert specialises, so each expert needs few epochs. By
itself it is the flat network that the chain has to beat.
"""

from __future__ import annotations

import argparse

from preprocessing_stage.dataset.user_error import exits_on_user_error
from train_stage.task import Task
from train_stage.training import run


@exits_on_user_error()
def main() -> None:
    run(Task.of_shared())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
