"""All quick benchmarks, under ten minutes on two cores, as one table.

    python -m benchmarks
    python -m benchmarks --json figures.json --plots plots

Ours and the baselines' are measured in turns in one run; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks import (
    growth,
    preprocessing,
    ray_workers,
    runtimes,
    segmentation,
    side_by_side,
    training,
)
from benchmarks.machine import this_machine
from benchmarks.rows import Result, markdown_table, text_table
from benchmarks.setup import ROOT, TINY, Scale, Setup, render
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.dataset_folder import DatasetFolder

BENCHMARKS: dict[str, Callable[[Setup], Result]] = {
    "preprocessing": preprocessing.measure,
    "training": training.measure,
    "segmentation": segmentation.measure,
    "runtimes": runtimes.measure,
    "growth": growth.measure,
    "ray": ray_workers.measure,
    "side_by_side": side_by_side.measure,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {_names()}")
    names = list(dict.fromkeys(arguments.names)) or list(BENCHMARKS)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all of it is about processors
    matplotlib.use("Agg")
    results: dict[str, Result] = {}
    machine = this_machine()
    params, segmenter = arguments.params.absolute(), arguments.segmenter.absolute()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks_") as folder:
        scale = TINY if arguments.tiny else Scale()
        people = (
            DatasetFolder(arguments.data.absolute())
            if arguments.data
            else render(Path(folder, "people"), params, scale.rendered)
        )
        setup = Setup(people, params, segmenter, Path(folder), scale)
        for name in names:
            start = time.perf_counter()
            results[name] = BENCHMARKS[name](setup)
            print(f"{name}: measured in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(f"{machine}\n")
    print((markdown_table if arguments.markdown else text_table)(results))
    if arguments.json:
        figures: dict[str, Any] = {name: asdict(one) for name, one in results.items()}  # type: ignore[call-overload]
        write_json(arguments.json, {"machine": asdict(machine)} | figures)
    grown = results.get("growth")
    if arguments.plots and isinstance(grown, growth.Growth):
        growth.plot(grown, arguments.plots / "growth.svg")


def _names() -> str:
    return ", ".join(BENCHMARKS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"default: all, that is {_names()}")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--markdown", action="store_true", help="the table for a page of the documentation")
    add("--plots", type=Path, metavar="DIR", help="write the plot of growth")
    add("--data", type=Path, metavar="FOLDER", help="people to take instead of rendering some")
    add("--params", type=Path, default=ROOT / "params.yaml", metavar="FILE", help="of the networks")
    add("--segmenter", type=Path, default=ROOT / "pretrained/default", metavar="FOLDER")
    add("--tiny", action="store_true", help="only shows that all runs; its figures mean nothing")
    return parser


if __name__ == "__main__":
    main()
