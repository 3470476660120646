"""What moves the weights: AdamW, or Muon for the kernels and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from train_stage.expert_params import ExpertParams

COEFFICIENTS = [
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
]
"""Of each step of `orthogonal`: https://leloykun.github.io/ponder/muon-opt-coeffs/, as in timm."""


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix of the same shape with the same singular vectors and all singular values near 1.

    Newton-Schulz steps X <- (a I + b G + c G G) X with G = X X^T, which for a wide matrix cost
    least when they are gathered in a polynomial of G, the smaller of the matrices, that is applied
    to X once. A matrix of zeros stays one.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    gram = matrix @ matrix.T
    square = gram.trace().clamp(min=1e-30)  # of the Frobenius norm
    gram = gram / square
    total = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for a, b, c in COEFFICIENTS:
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        total = polynomial @ total
        gram = polynomial @ gram @ polynomial
    return total @ matrix / square.sqrt()


class Muon(torch.optim.AdamW):
    """AdamW, but for groups with `muon: True`, whose kernels follow their momentum made orthogonal.

    The momentum of a kernel, as a matrix (outputs, inputs x height x width), is replaced by the
    nearest one whose rows or columns are orthonormal, so that rare directions move as far as common
    ones (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). Its size is that of
    AdamW's usual step (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that a learning rate and
    a weight decay mean about the same for both.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float = 0.95) -> None:
        super().__init__(groups, fused=True)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient; `closure` as in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                for kernel in group["params"]:
                    self._step(kernel, group["lr"], group["weight_decay"])
        super().step()
        return loss

    def _step(self, kernel: torch.Tensor, rate: float, weight_decay: float) -> None:
        gradient, state = kernel.grad, self.state[kernel]
        if gradient is None:
            return
        if not state:  # named as AdamW's, which looks for them when it loads a state
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(kernel)}
        momentum = state["exp_avg"].lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp(momentum, self.momentum).flatten(1)  # Nesterov's
        update = orthogonal(ahead)
        size = 0.2 * max(update.shape) ** 0.5
        kernel.mul_(1 - rate * weight_decay).sub_(update.view_as(kernel), alpha=rate * size)
        kernel.grad = None  # AdamW passes over what has none


def make_optimizer(parts: Iterable[tuple[nn.Module, float]], params: ExpertParams) -> Muon:
    """Of modules, each with its learning rate. Scales, shifts and biases do not decay."""
    groups: list[dict[str, Any]] = []
    for module, rate in parts:
        own = [*module.parameters()]
        # A depthwise kernel has too few directions to make orthogonal.
        wide = [p for p in own if p.ndim > 1 and p.shape[1] > 1]
        depthwise = [p for p in own if p.ndim > 1 and p.shape[1] == 1]
        decay, muon = params.weight_decay, params.optimizer == "muon"
        vectors = [p for p in own if p.ndim <= 1]
        groups += [
            {"params": wide, "lr": rate, "weight_decay": decay, "muon": muon},
            {"params": depthwise, "lr": rate, "weight_decay": decay, "muon": False},
            {"params": vectors, "lr": rate, "weight_decay": 0.0, "muon": False},
        ]
    return Muon(groups)
