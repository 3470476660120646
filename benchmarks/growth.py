"""How wall time and memory of the steps grow with the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.child import Figures, run_child
from benchmarks.plots import save_svg
from benchmarks.rows import Row
from benchmarks.setup import Setup, copies, make_workspace

STEPS = {
    "packing": "packing",
    "statistics": "class frequencies and gray photographs",
    "training": "an epoch of training",
    "evaluation": "evaluation of the chain",
}


@dataclass(frozen=True)
class Line:
    """A step at several sizes, and the straight line through its times."""

    step: str
    images: list[int]
    """Of the step."""
    seconds: list[float]
    mebibytes: list[float]
    """Most memory at a time, the mapped files of packed samples among it."""
    fixed_seconds: float
    seconds_of_image: float
    largest_deviation: float
    """Of a time from the line, as a share of the longest."""


@dataclass(frozen=True)
class Growth:
    steps: list[Line]

    def rows(self) -> list[Row]:
        rows = []
        for line in self.steps:
            few, many = line.images[0], line.images[-1]
            ms, grown = 1000 * line.seconds_of_image, f"x {many / few:g} images"
            off = f"{100 * line.largest_deviation:.1f} % off a line"
            what = f"{line.step}, {many} images"
            rows += [
                Row(f"{line.step}, {ms:.3g} ms an image more, {off}", line.seconds[-1], "s",
                    f"{few} images", line.seconds[0], f"<= {many / few:g}"),
                Row(f"{what}, memory", line.mebibytes[-1], "MiB", f"{few} images",
                    line.mebibytes[0], f"about 1 at {grown}"),
            ]  # fmt: skip
        return rows


def measure(setup: Setup) -> Growth:
    """Each step at each size in a process of its own; two thirds of the images are to train on."""
    found: dict[str, list[tuple[int, Figures]]] = {step: [] for step in STEPS}
    for factor in setup.scale.growth_factors:
        images = setup.scale.growth_base * factor
        counts = {"train": images - images // 3, "val": images // 3}
        seen = {
            "packing": images,
            "statistics": images,
            "training": counts["train"],
            "evaluation": counts["val"],
        }
        folder = setup.folder / f"growth_{images}"
        people = copies(setup.people, folder / "data", setup.tree, counts)
        workspace = make_workspace(folder / "workspace", people, setup.params)
        for step, some in found.items():
            options = ("--segmenter", str(setup.segmenter))
            some.append((seen[step], run_child(workspace, step, *options)))
    return Growth([line(step, some) for step, some in found.items()])


def line(step: str, measured: list[tuple[int, Figures]]) -> Line:
    images = [count for count, _ in measured]
    seconds = [figures.seconds for _, figures in measured]
    slope, fixed = np.polyfit(images, seconds, 1)
    off = np.abs(np.polyval([slope, fixed], images) - seconds).max() / max(seconds)
    return Line(
        step=step,
        images=images,
        seconds=seconds,
        mebibytes=[figures.mebibytes for _, figures in measured],
        fixed_seconds=float(fixed),
        seconds_of_image=float(slope),
        largest_deviation=float(off),
    )


def plot(growth: Growth, path: Path) -> None:
    """Time with its straight line, and memory, against images; a colour a step."""
    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.6))
    for index, line in enumerate(growth.steps):
        colour, name = f"C{index}", STEPS[line.step]
        time.plot(line.images, line.seconds, "o", color=colour)
        ends = np.array([0, line.images[-1]])
        time.plot(ends, line.fixed_seconds + line.seconds_of_image * ends, color=colour, lw=1)
        memory.plot(line.images, line.mebibytes, "o-", color=colour, lw=1, label=name)
    time.set(xlabel="images", ylabel="seconds")
    memory.set(xlabel="images", ylabel="most memory in MiB")
    for axis in (time, memory):
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
    save_svg(figure, path)
