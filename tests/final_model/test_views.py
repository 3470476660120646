"""What an expert is shown of an image, and how its prediction gets back into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from segmenter_fixtures import MODEL, REJECTING, make_segmenter, random_image
from torch import Tensor, nn

from final_model_stage.chain.runner import Runner
from final_model_stage.chain.views import View
from train_stage.regions import box_frame, pixel_centres, warp, whole_image

SURE = [0.04, 0.3, 0.06, 0.5, 0.1]
"""Of background, hand, foot, head and knee."""


class OfBrightness(nn.Module):
    """A root expert: SURE where the image is bright, background elsewhere."""

    def forward(self, image: Tensor, region: Tensor, parent: Tensor | None = None) -> Tensor:
        bright = image.mean(1, keepdim=True) > 0.5
        sure = torch.tensor(SURE).log().view(1, -1, 1, 1)
        dark = torch.tensor([0.96, *[0.01] * 4]).log().view(1, -1, 1, 1)
        return torch.where(bright, sure, dark)


def view_of_body(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> View:
    """Where the root finds a body in rows 12 to 16 and columns 10 to 22 of 32 x 32 pixels."""
    segmenter = make_segmenter(**{"feeding": {"input_size": 32}} | settings)
    segmenter.runner.experts["person"] = OfBrightness()
    seen: dict[str, View] = {}
    predict = Runner.predict

    def note(self: Runner, images: list[Tensor], views: list[View], watch: Any) -> list[Tensor]:
        seen.update({view.expert: view for view in views})
        return predict(self, images, views, watch)

    monkeypatch.setattr(Runner, "predict", note)
    image = np.zeros((32, 32, 3), np.uint8)
    image[12:16, 10:22] = 255
    segmenter.predict([image])
    return seen["body"]


def test_a_box_is_widened_and_has_a_margin_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = {"input_size": 32, "box_margin": 0.25, "max_box_aspect": 1.5}
    box = view_of_body(monkeypatch, feeding=fed).box
    # 12 wide, so 8 high around row 14, and 3 more on each side.
    assert box.tolist() == [10 - 3, 10 - 3, 22 + 3, 18 + 3]


def test_without_zoom_an_expert_is_shown_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of_body(monkeypatch, feeding={"input_size": 32, "zoom": False})
    assert view.box.tolist() == [0, 0, 32, 32]
    assert view.region.sum() == 4 * 12


@pytest.mark.parametrize(
    ("pixels", "stride", "grown"), [(0, 1, 0), (3, 1, 3), (0, 2, 0), (1, 2, 1), (3, 2, 2)]
)
def test_a_region_grows_by_as_many_pixels_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, pixels: int, stride: int, grown: int
) -> None:
    fed = {"input_size": 32, "region_dilation": pixels}
    view = view_of_body(monkeypatch, feeding=fed, grid_stride=stride)
    expected = torch.zeros(32 // stride, 32 // stride, dtype=torch.bool)
    top, bottom, left, right = (edge // stride for edge in (12, 16, 10, 22))
    expected[top - grown : bottom + grown, left - grown : right + grown] = True
    assert torch.equal(view.region, expected)
    assert torch.equal(view.used, expected)


def test_a_coarser_grid_leaves_the_crops_as_fine() -> None:
    image = torch.rand(3, 9, 15)
    region = torch.rand(5, 8) > 0.5
    fine = region.repeat_interleave(2, 0).repeat_interleave(2, 1)
    larger = F.interpolate(image[None], (10, 16), mode="nearest")[0]
    assert not torch.equal(larger[:, :9, :15], image)
    for picture in (image, larger):
        (height, width), centres = picture.shape[1:], pixel_centres(12)
        box = torch.tensor([1.0, -1.0, 7.0, 4.0])
        finer = torch.tensor([width / 8, height / 5] * 2)
        crop, mask, _ = View("body", region, box, region).crop(picture, centres)
        torch.testing.assert_close(
            crop[None], warp(picture[None], box_frame(box * finer)[None], centres)
        )
        _, same, _ = View("body", fine, box * 2, fine).crop(picture, centres)
        assert torch.equal(mask, same)


@pytest.mark.parametrize(("stride", "size"), [(1, (24, 31)), (2, (12, 16)), (5, (5, 7))])
def test_probabilities_are_kept_on_the_grid_and_decided_at_full_size(
    stride: int, size: tuple[int, int]
) -> None:
    segmenter = make_segmenter(grid_stride=stride, tta_views=True)
    [(labels, probabilities)] = segmenter.predict([random_image(shape=(24, 31))])
    assert labels.shape == (24, 31)
    assert probabilities.shape == (5, *size)


def test_an_expert_is_told_what_its_parent_predicts_of_its_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = view_of_body(monkeypatch, below_root=REJECTING).parent
    assert told is not None
    torch.testing.assert_close(told[:, 14, 16], torch.tensor(SURE[1:]))
    torch.testing.assert_close(told[:, 2, 2], torch.full((4,), 0.01))


def test_the_network_gets_what_its_view_is_told() -> None:
    told: list[Tensor | None] = []

    class Listening(nn.Module):
        def forward(self, image: Tensor, region: Tensor, parent: Tensor | None) -> Tensor:
            told.append(parent)
            return torch.zeros(len(image), 5, 16, 16)

    segmenter = make_segmenter(below_root=REJECTING)
    segmenter.runner.experts["body"] = Listening()
    everywhere, parent = torch.ones(16, 16, dtype=torch.bool), torch.rand(4, 16, 16)
    view = View("body", everywhere, whole_image(16, 16), everywhere, parent)
    segmenter.runner.predict([torch.rand(3, 16, 16)], [view])
    assert told[0] is not None
    torch.testing.assert_close(told[0][0], parent)


def test_logarithms_of_probabilities_are_interpolated() -> None:
    shares = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]]).expand(2, 2, 2)
    everywhere = torch.ones(2, 4, dtype=torch.bool)
    pasted = View("person", everywhere, whole_image(2, 4), everywhere).paste(shares)
    # A quarter of the way from odds of 9 to odds of 1/9 they are 3.
    expected = torch.tensor([0.9, 0.75, 0.25, 0.1]).expand(2, 4)
    torch.testing.assert_close(pasted, torch.stack([expected, 1 - expected]))


def test_mc_dropout_gives_the_mean_of_its_samples() -> None:
    class EachTimeAnother(nn.Module):
        """Background with 0.1, 0.2 and 0.9 in its first, second and third sample."""

        samples = 0

        def forward(self, image: Tensor, region: Tensor, parent: Tensor | None) -> Tensor:
            background = torch.tensor([0.1, 0.2, 0.9])[self.samples].expand_as(region)
            self.samples += 1
            return torch.cat([background, *[(1 - background) / 4] * 4], 1).log()

    segmenter = make_segmenter(mc_dropout_samples=3)
    segmenter.runner.experts["person"] = network = EachTimeAnother()
    [total] = segmenter.predict_root([random_image()])
    assert network.samples == 3
    torch.testing.assert_close(total[0], torch.full((24, 32), 0.4))


def test_every_expert_predicts_with_dropout_in_mc_dropout_alone() -> None:
    for samples, is_on in ((1, False), (2, True)):
        runner = make_segmenter(mc_dropout_samples=samples, model=MODEL).runner
        for expert in runner.experts.values():
            assert expert.encoder.dropout.training == is_on
            assert not expert.decoder.training


def test_a_closer_view_is_limited_to_the_share_of_the_settings() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[4:12, 18:26] = 255  # its box: 8 + 2 x 0.8 pixels, moved out to 10 x 10 of 1024
    for most, views in ((0.095, 1), (0.1, 2)):
        segmenter = make_segmenter(
            tta_views=True, closer_view_max_area=most, feeding={"input_size": 32}
        )
        segmenter.runner.experts["person"] = OfBrightness()
        [total] = segmenter.predict_root([image])
        assert total[:, 8, 22].sum().item() == pytest.approx(views)
