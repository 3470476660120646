"""What an expert that learns children alone says of leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from train_fixtures import expert_params

from train_stage.model import Expert


@pytest.mark.parametrize("rejects", [False, True])
def test_leaves_share_the_probability_of_their_child(rejects: bool) -> None:
    children = np.array([[False, True, False, True, True], [True, False, True, False, False]])
    params = expert_params(input_size=64).model
    params = params.model_copy(update={"targets": "children", "rejects": rejects})
    torch.manual_seed(0)
    model = Expert(params, children).eval()
    assert len(model.head.weight) == 2 + rejects
    seen: list[Tensor] = []
    model.head.register_forward_hook(lambda *args: seen.append(args[2]))
    leaves = model(torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)).softmax(1)
    child = seen[0].softmax(1)
    expected = [child[:, 1] / 2, child[:, 0] / 3] * 2 + [child[:, 0] / 3]
    torch.testing.assert_close(leaves[:, :5], torch.stack(expected, 1))
    torch.testing.assert_close(leaves[:, 5:], child[:, 2:])
    assert not [name for name in model.state_dict() if name.startswith("shares")]
