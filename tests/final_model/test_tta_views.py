"""Test-time augmentation: which views the root sees, and flips."""

import numpy as np
import pytest
import torch
from segmenter_fixtures import make_segmenter, random_image
from torch import nn


class Brightness(nn.Module):
    """A root expert: foreground where the image is bright; keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image, region, parent=None):
        self.seen.append(image)
        bright = (image.mean(1, keepdim=True) - 0.5) * 10
        return torch.cat([-bright, *[bright] * 4], dim=1)


def views(**settings):
    """The root's inputs and prediction for a small bright square in a dark image."""
    segmenter = make_segmenter(**settings)
    segmenter.runner.experts["person"] = expert = Brightness()
    image = np.zeros((32, 32, 3), np.uint8)
    image[4:12, 18:26] = 255
    [(_, found)] = segmenter.predict([image])
    return expert.seen, found


def test_the_closer_view_shows_the_foreground_of_the_first():
    [first], once = views()
    [whole, closer], twice = views(tta_views=True)
    assert torch.equal(whole, first)
    assert closer.mean() > 4 * first.mean()
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[2:14, 16:28] = False
    assert torch.equal(once[:, outside], twice[:, outside])
    truth = torch.zeros(32, 32)
    truth[4:12, 18:26] = 1
    assert (twice[0] - 1 + truth).abs().sum() < (once[0] - 1 + truth).abs().sum()


def test_a_closer_view_needs_a_foreground_that_leaves_room():
    segmenter = make_segmenter(tta_views=True)
    for value in (0, 255):
        segmenter.runner.experts["person"] = expert = Brightness()
        segmenter.predict([np.full((32, 32, 3), value, np.uint8)])
        assert len(expert.seen) == 1


def test_an_oblong_image_is_seen_at_both_ends_too():
    segmenter = make_segmenter(tta_views=True, longest_side=48)
    segmenter.runner.experts["person"] = expert = Brightness()
    for turned in (False, True):
        expert.seen.clear()
        image = torch.zeros(3, 32, 48)
        image[:, :, :24] = (torch.linspace(0, 0.4, 24) * 255).round() / 255  # no foreground
        pixels = (image.permute(2, 1, 0) if turned else image.permute(1, 2, 0)) * 255
        segmenter.predict([pixels.round().byte().numpy()])
        seen = [some[0].mT if turned else some[0] for some in expert.seen]
        assert len(seen) == 3
        for end, part in ((seen[1], image[:, :, :32]), (seen[2], image[:, :, 16:])):
            torch.testing.assert_close(end, nn.functional.avg_pool2d(part, 2), atol=0.01, rtol=0)


def test_predictions_of_all_views_that_cover_a_pixel_are_averaged():
    class Counting(nn.Module):
        """Predicts body with 0, 0.4 and 0.8 in its first, second and third view."""

        views = 0

        def forward(self, image, region, parent=None):
            body = torch.tensor([0.0, 0.4, 0.8])[self.views].expand_as(region)
            self.views += 1
            # The body's other leaves get nothing.
            return torch.cat([1 - body, body, *[torch.zeros_like(body)] * 3], dim=1).log()

    segmenter = make_segmenter(tta_views=True, longest_side=40)
    segmenter.runner.experts["person"] = Counting()
    [(_, found)] = segmenter.predict([random_image(0, (32, 40))])
    body = 1 - found[0, 16]
    for columns, share in ((slice(0, 8), 0.2), (slice(8, 32), 0.4), (slice(32, 40), 0.4)):
        assert torch.allclose(body[columns], torch.tensor(share), atol=1e-3)


@pytest.mark.parametrize("tta_views", [False, True])
def test_a_flipped_image_has_a_flipped_prediction(tta_views):
    image = random_image()
    segmenter = make_segmenter(tta_flip=True, tta_views=tta_views)
    (_, one), (_, other) = segmenter.predict([image, np.ascontiguousarray(image[:, ::-1])])
    assert torch.allclose(one, other.flip(-1), atol=1e-5)
