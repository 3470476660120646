"""The chain step by step: what each expert was handed, what it looked at, what it answered.

The experts are listened to while the segmenter runs, so this shows what happens, not a second
account of it: an expert may look more than once, at mirrored images too, or in several passes.
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
"""Of an expert: image (3, S, S), region (1, S, S), probabilities (children, S, S)."""

_listening = threading.Lock()


@dataclass(frozen=True)
class Look:
    """One view of an expert: a square of side S, cut out of the photograph and scaled."""

    image: np.ndarray
    """(S, S, 3) uint8; the expert does not see what lies outside the region."""
    region: np.ndarray
    """(S, S) bool: the pixels that it was asked about."""
    probabilities: np.ndarray
    """(children, S, S) float32 of each child of its node, the mean over passes and mirrors."""


@dataclass(frozen=True)
class Step:
    """What one expert did for a photograph of height H and width W."""

    expert: str
    region: np.ndarray
    """(H, W) bool: the pixels that its parent handed down."""
    looks: list[Look]
    """In their order; none if it was handed no pixel."""


def segment_in_steps(segmenter: Segmenter, image: np.ndarray) -> tuple[Segmentation, list[Step]]:
    """What `segmenter.segment` says of an RGB image (H, W, 3) uint8, and how it came to that."""
    with _listening, _calls(segmenter) as calls:
        result = segmenter.segment(image)
    regions = _handed_down(result)
    steps = [Step(name, regions[name], _looks(calls[name])) for name in segmenter.tree.experts]
    return result, steps


@contextmanager
def _calls(segmenter: Segmenter) -> Iterator[dict[str, list[Call]]]:
    """Expert name -> its calls, filled while the block runs."""
    calls: dict[str, list[Call]] = {name: [] for name in segmenter.runner.experts}

    def listen(name: str, inputs: tuple[Tensor, Tensor], logits: Tensor) -> None:
        leaves = logits.softmax(1)
        children = [leaves[:, own].sum(1) for own in segmenter.chain.splits[name].leaves]
        heard = (*inputs, torch.stack(children, 1))
        calls[name] += zip(*(tensor.detach().float().cpu() for tensor in heard), strict=True)

    def hook(name: str, expert: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return expert.register_forward_hook(lambda _, inputs, logits: listen(name, inputs, logits))

    handles = [hook(name, expert) for name, expert in segmenter.runner.experts.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _looks(calls: list[Call]) -> list[Look]:
    """Calls for the same view, or for its mirror image, as one look with their mean."""
    views: list[tuple[Tensor, Tensor, list[Tensor]]] = []
    for image, region, probabilities in calls:
        for seen, _, answers in views:
            if torch.equal(image, seen):
                answers.append(probabilities)
                break
            if torch.equal(image.flip(-1), seen):
                answers.append(probabilities.flip(-1))
                break
        else:
            views.append((image, region, [probabilities]))
    return [
        Look(
            (image.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy(),
            region[0].numpy() > 0.5,
            torch.stack(answers).mean(0).numpy(),
        )
        for image, region, answers in views
    ]


def _handed_down(result: Segmentation) -> dict[str, np.ndarray]:
    """Inner node -> its region (H, W) bool: from the root down, the likeliest child claims."""
    tree = result.tree
    regions = {tree.root.name: np.ones(result.labels.shape, bool)}
    for name in tree.experts:
        children = tree[name].children
        claimed = np.stack([result.probability(child.name) for child in children]).argmax(0)
        for k, child in enumerate(children):
            regions[child.name] = regions[name] & (claimed == k)
    return regions
