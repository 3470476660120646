"""Two experts trained at the same time, a core each, and other ways to use two cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.child import Child, run_child
from benchmarks.rows import Row
from benchmarks.setup import Setup, copies, make_workspace, preprocess


@dataclass(frozen=True)
class SideBySide:
    """Seconds for an epoch of both experts."""

    experts: list[str]
    images: int
    together: float
    """At the same time, one thread each."""
    one_after_another: float
    """With all cores each."""
    two_processes: float
    """One after another, each in two processes that share its batches (gloo), a thread each."""

    def rows(self) -> list[Row]:
        both = " and ".join(self.experts)
        ways = {
            "one after another": self.one_after_another,
            "two processes each": self.two_processes,
        }
        return [
            Row(f"{both}, {way}", seconds, "s", "side by side", self.together)
            for way, seconds in ways.items()
        ]


def measure(setup: Setup) -> SideBySide:
    """The last two experts of the tree: their epochs are as long as each other's."""
    scale, folder = setup.scale, setup.folder / "side_by_side"
    people = copies(setup.people, folder / "data", setup.tree, {"train": scale.trained, "val": 2})
    workspace = make_workspace(folder / "workspace", people, setup.params)
    preprocess(workspace)
    experts = list(setup.tree.experts[-2:])
    ways: dict[str, Callable[[Path, list[str]], float]] = {
        "one_after_another": one_after_another,
        "together": together,
        "two_processes": two_processes,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(min(2, scale.repeats)):
        for name, way in ways.items():
            times[name].append(way(workspace, experts))
    return SideBySide(
        experts, scale.trained, **{name: median(some) for name, some in times.items()}
    )


def together(workspace: Path, experts: list[str]) -> float:
    children = [Child(workspace, "training", "--expert", expert, threads=1) for expert in experts]
    for child in children:
        child.ready()
    for child in children:
        child.go()
    return max(child.figures().seconds for child in children)


def one_after_another(workspace: Path, experts: list[str]) -> float:
    return sum(run_child(workspace, "training", "--expert", expert).seconds for expert in experts)


def two_processes(workspace: Path, experts: list[str]) -> float:
    return sum(
        run_child(workspace, "training", "--expert", expert, "--devices", "2", threads=1).seconds
        for expert in experts
    )
