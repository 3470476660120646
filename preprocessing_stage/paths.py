"""Where the pipeline's files lie, from the folder that it runs in; dvc.yaml names them too."""

from __future__ import annotations

from pathlib import Path

PARAMS_FILE = Path("params.yaml")
DVC_LOCK = Path("dvc.lock")

RENDERED_PEOPLE = Path("data/rendered_people")
"""The data set that the pipeline makes itself."""
PACKED = Path("data/packed")

CHECKPOINTS = Path(".checkpoints")
"""Of unfinished trainings."""
SHARED_FILE = Path("models/shared.safetensors")
"""The network that all experts start from."""
OUT_OF_FOLD = Path("models/out_of_fold")
"""Predictions on the samples by networks that were not trained on them."""
EXPERTS = Path("models/experts")
SEGMENTER = Path("models/segmenter")
SHIPPED_SEGMENTER = Path("pretrained/default")

RESULTS = Path("results")
STATISTICS = RESULTS / "data"
FINDINGS = STATISTICS / "findings.csv"
"""What is allowed in the data set but seldom meant, a sentence each."""
TRAININGS = RESULTS / "experts"
"""History and metrics of each training."""
EVENTS = RESULTS / "metrics"
"""TensorBoard's."""
FINAL = RESULTS / "final"
FINAL_METRICS = FINAL / "metrics.json"
PICTURES = RESULTS / "pictures"
REPORT = RESULTS / "report.html"
EXAMPLES = RESULTS / "valid_segmentation"
