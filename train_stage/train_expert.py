"""Train one expert: `python -m train_stage.train_expert upper_body`.

Writes models/experts/<name>.safetensors (averaged weights), results/experts/<name>/history.csv
and metrics.json, and TensorBoard events under results/metrics/<name>/.
"""

from __future__ import annotations

import argparse

from preprocessing_stage.dataset.user_error import exits_on_user_error
from train_stage.task import Task
from train_stage.training import run


@exits_on_user_error()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("expert", help="inner node of the class tree")
    run(Task.of_expert(parser.parse_args().expert))


if __name__ == "__main__":
    main()
