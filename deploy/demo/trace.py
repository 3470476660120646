"""A trace of the chain: the region of each expert, its views, and what it predicted for them.

The segmenter itself shows the views while it runs, so the trace is no second implementation of it.
The regions are those of the final probabilities: the masks of the views, of the probabilities so
far, may differ a little, and are grown by `region_dilation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from final_model_stage.segmentation import SeenView, Segmentation, Segmenter
from preprocessing_stage.dataset.class_tree import ClassTree


@dataclass(frozen=True)
class TracedView:
    """One view of an expert: a square of side S, cropped from the image and scaled."""

    crop: np.ndarray
    """(S, S, 3) uint8; the expert does not see what lies outside the mask."""
    mask: np.ndarray
    """(S, S) bool: the pixels of the region."""
    probabilities: np.ndarray
    """(children, S, S) float32 of each child of the node, and after them of none of them if the
    expert rejects; averaged over flips and samples."""


@dataclass(frozen=True)
class ExpertTrace:
    """What one expert did for an image of height H and width W."""

    expert: str
    region: np.ndarray
    """(H, W) bool: the pixels predicted to belong to the node that the expert splits."""
    views: list[TracedView]
    """In their order; none if the region is empty."""


def segment_with_trace(
    segmenter: Segmenter, image: np.ndarray
) -> tuple[Segmentation, list[ExpertTrace]]:
    """`segmenter.segment` of an RGB image (H, W, 3) uint8, and the trace of each expert."""
    seen: list[SeenView] = []
    result = segmenter.segment(image, seen.append)
    tree, regions = segmenter.tree, _regions(result)
    return result, [
        ExpertTrace(name, regions[name], [_traced(v, tree) for v in seen if v.expert == name])
        for name in tree.experts
    ]


def _traced(view: SeenView, tree: ClassTree) -> TracedView:
    children = tree.leaves_of_children(view.expert)
    count = children.shape[1]
    leaves, none = view.probabilities[:count], view.probabilities[count:]
    return TracedView(
        (view.crop.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8),
        view.mask,
        np.concatenate([np.stack([leaves[own].sum(0) for own in children]), none]),
    )


def _regions(result: Segmentation) -> dict[str, np.ndarray]:
    """Node -> its region (H, W) bool: from the root down, where it is the most probable child."""
    tree = result.tree
    regions = {tree.root.name: np.ones(result.labels.shape, bool)}
    for name in tree.experts:
        children = tree[name].children
        predicted = np.stack([result.probability(child.name) for child in children]).argmax(0)
        for k, child in enumerate(children):
            regions[child.name] = regions[name] & (predicted == k)
    return regions
