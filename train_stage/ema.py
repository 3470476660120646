"""Exponential moving average of a network in training: what is kept of it at the end."""

from __future__ import annotations

import copy

import torch
from torch import nn


class ModelEma:
    """Averages weights and batch statistics; follows quickly while it is young.

    Unlike torch's AveragedModel it never waits for a GPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.count = decay, 0
        pairs = zip(self.module.state_dict().values(), model.state_dict().values(), strict=True)
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._own, self._current = map(list, zip(*floating, strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network's present state."""
        weight = min(self.decay, (1 + self.count) / (10 + self.count)) if self.count else 0.0
        self.count += 1
        torch._foreach_lerp_(self._own, self._current, 1 - weight)
