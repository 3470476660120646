"""The figures of metrics.json, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preprocessing_stage.dataset.class_tree import ClassTree


@dataclass(frozen=True)
class Level:
    """Figures of one level of the tree, None where there is none."""

    number: int
    classes: list[str]
    iou: list[float | None]
    dataset: float | None
    low: float | None
    high: float | None
    image_level: float | None
    oracle: float | None


def read_levels(figures: Mapping[str, Any], tree: ClassTree) -> list[Level]:
    """figures: what metrics.json holds."""
    levels = []
    for k in range(tree.depth):
        name = f"mIoU_{k}"
        classes = [node.name for node in tree.level(k)]
        levels.append(
            Level(
                number=k,
                classes=classes,
                iou=[figures["iou"][c] for c in classes],
                dataset=figures[name],
                low=figures["interval"][name]["low"],
                high=figures["interval"][name]["high"],
                image_level=figures["per_image"][name],
                oracle=figures["oracle"].get(f"level_{k - 1}", {}).get(name),
            )
        )
    return levels
