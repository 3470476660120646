"""A trace of the chain: the region of each expert, its views, and what it predicted for them.

Recorded by forward hooks while the segmenter runs, so it shows what happens and not a second
implementation of it. An expert may predict several views, flipped ones and MC-dropout samples.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from final_model_stage.segmenter import Segmentation, Segmenter

Call = tuple[Tensor, Tensor, Tensor]
"""Of an expert: crop (3, S, S), mask (1, S, S), probabilities (children, S, S)."""

_hooked = threading.Lock()


@dataclass(frozen=True)
class TracedView:
    """One view of an expert: a square of side S, cropped from the image and scaled."""

    crop: np.ndarray
    """(S, S, 3) uint8; the expert does not see what lies outside the mask."""
    mask: np.ndarray
    """(S, S) bool: the pixels of the region."""
    probabilities: np.ndarray
    """(children, S, S) float32 of each child of the node, averaged over flips and samples."""


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
    with _hooked, _record_calls(segmenter) as calls:
        result = segmenter.segment(image)
    regions = _regions(result)
    return result, [
        ExpertTrace(name, regions[name], _views(calls[name])) for name in segmenter.tree.experts
    ]


@contextmanager
def _record_calls(segmenter: Segmenter) -> Iterator[dict[str, list[Call]]]:
    """Expert name -> its calls, filled while the block runs."""
    calls: dict[str, list[Call]] = {name: [] for name in segmenter.runner.experts}

    def record(name: str, inputs: tuple[Tensor, Tensor, Tensor | None], logits: Tensor) -> None:
        crops, masks, _ = inputs
        split = segmenter.chain.splits[name].leaves
        leaves = logits.softmax(1)[:, : split.shape[1]]  # after them may come that of none
        call = (crops, masks, torch.stack([leaves[:, own].sum(1) for own in split], 1))
        calls[name] += zip(*(tensor.detach().float().cpu() for tensor in call), strict=True)

    def hook(name: str, expert: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return expert.register_forward_hook(lambda _, inputs, logits: record(name, inputs, logits))

    handles = [hook(name, expert) for name, expert in segmenter.runner.experts.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _views(calls: list[Call]) -> list[TracedView]:
    """One view for all calls with the same crop or its flip, with the mean of what they gave."""
    groups: list[tuple[Tensor, Tensor, list[Tensor]]] = []
    for crop, mask, probabilities in calls:
        for first, _, predictions in groups:
            if torch.equal(crop, first):
                predictions.append(probabilities)
                break
            if torch.equal(crop.flip(-1), first):
                predictions.append(probabilities.flip(-1))
                break
        else:
            groups.append((crop, mask, [probabilities]))
    return [
        TracedView(
            (crop.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy(),
            mask[0].numpy() > 0.5,
            torch.stack(predictions).mean(0).numpy(),
        )
        for crop, mask, predictions in groups
    ]


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
