"""An expert made ready to predict answers as the one that was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from train_fixtures import TIMM, expert_params

from final_model_stage.chain.fold_norms import folded, for_prediction
from train_stage.model import Expert


@pytest.fixture(params=[False, True], ids=["whole image", "below the root"])
def trained(request: pytest.FixtureRequest) -> Expert:
    """An expert with a timm encoder whose batch norms have seen something; below the root it is
    told what its parent predicts."""
    torch.manual_seed(0)
    model = {**TIMM, "parent_channels": request.param, "rejects": request.param}
    expert = Expert(
        expert_params("body", regions="predicted", model=model).model, np.eye(3, dtype=bool)
    )
    for module in expert.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return expert.eval()


def inputs(expert: Expert) -> tuple[Tensor, ...]:
    seen = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    return (*seen, torch.rand(2, 3, 64, 64)) if expert.parent_channels else seen


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.inference_mode()
def test_a_folded_expert_answers_the_same_and_leaves_the_trained_one(trained: Expert) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    quick = for_prediction(trained, bf16=False)
    assert norms(quick.encoder.net) == 0 < norms(trained.encoder.net)
    seen = inputs(trained)
    torch.testing.assert_close(quick(*seen), trained(*seen), atol=1e-3, rtol=1e-3)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@torch.inference_mode()
def test_in_bf16_it_answers_what_autocast_makes_of_the_trained_one(trained: Expert) -> None:
    quick = for_prediction(trained, bf16=True)
    assert quick.head.weight.dtype == torch.bfloat16
    assert trained.head.weight.dtype == torch.float32
    seen = inputs(trained)
    with torch.autocast("cpu", torch.bfloat16):
        one, other = trained(*seen).softmax(1), quick(*seen).softmax(1)
    torch.testing.assert_close(one, other, atol=0.05, rtol=0)


class Apart(nn.Module):
    """A batch norm that stands behind a convolution and works before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.bias, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.convolution(self.norm(x).relu())]


def test_a_network_of_another_order_stays_as_it_is() -> None:
    net = Apart().eval()
    assert folded(net, 3) is net
