"""What the root sees when it looks again, and when it looks into a mirror."""

import pytest
import torch
from segmenter_fixtures import make_segmenter, random_image
from torch import nn


class Brightness(nn.Module):
    """A root expert: foreground where the image is bright; notes what it sees."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image, region):
        self.seen.append(image)
        bright = (image.mean(1, keepdim=True) - 0.5) * 10
        return torch.cat([-bright, *[bright] * 4], dim=1)


def look(**settings):
    """The root's inputs and answer for a small bright square in a dark image."""
    segmenter = make_segmenter(**settings)
    segmenter.prepared["person"] = expert = Brightness()
    image = torch.zeros(3, 32, 32)
    image[:, 4:12, 18:26] = 1
    [found] = segmenter.descend([image], [{}])
    return expert.seen, found["person"]


def test_a_second_look_sees_what_the_first_found_from_close_up():
    [first], once = look()
    [whole, closer], twice = look(tta_views=True)
    assert torch.equal(whole, first)
    assert closer.mean() > 4 * first.mean()
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[2:14, 16:28] = False
    assert torch.equal(once[:, outside], twice[:, outside])
    truth = torch.zeros(32, 32)
    truth[4:12, 18:26] = 1
    assert (twice[1] - truth).abs().sum() < (once[1] - truth).abs().sum()


def test_a_second_look_needs_a_foreground_that_leaves_room():
    segmenter = make_segmenter(tta_views=True)
    for value in (0, 1):
        segmenter.prepared["person"] = expert = Brightness()
        segmenter.descend([torch.full((3, 32, 32), float(value))], [{}])
        assert len(expert.seen) == 1


def test_an_oblong_image_is_seen_at_both_ends_too():
    segmenter = make_segmenter(tta_views=True)
    segmenter.prepared["person"] = expert = Brightness()
    for turned in (False, True):
        expert.seen.clear()
        image = torch.zeros(3, 32, 48)
        image[:, :, :24] = torch.linspace(0, 0.4, 24)  # no foreground
        segmenter.descend([image.mT if turned else image], [{}])
        seen = [some[0].mT if turned else some[0] for some in expert.seen]
        assert len(seen) == 3
        for end, part in ((seen[1], image[:, :, :32]), (seen[2], image[:, :, 16:])):
            torch.testing.assert_close(end, nn.functional.avg_pool2d(part, 2), atol=0.01, rtol=0)


def test_each_pixel_gets_the_mean_of_the_looks_that_see_it():
    class Counting(nn.Module):
        """Says body with probability 0, 0.4 and 0.8 in its first, second and third look."""

        looks = 0

        def forward(self, image, region):
            body = torch.tensor([0.0, 0.4, 0.8])[self.looks].expand_as(region)
            self.looks += 1
            # The body's other leaves get nothing.
            return torch.cat([1 - body, body, *[torch.zeros_like(body)] * 3], dim=1).log()

    segmenter = make_segmenter(tta_views=True)
    segmenter.prepared["person"] = Counting()
    [found] = segmenter.descend([torch.rand(3, 32, 40)], [{}])
    body = found["person"][1, 16]
    for columns, share in ((slice(0, 8), 0.2), (slice(8, 32), 0.4), (slice(32, 40), 0.4)):
        assert torch.allclose(body[columns], torch.tensor(share), atol=1e-3)


@pytest.mark.parametrize("tta_views", [False, True])
def test_mirrored_images_get_mirrored_answers(tta_views):
    image = random_image()
    segmenter = make_segmenter(tta_flip=True, tta_views=tta_views)
    tensors = [
        torch.from_numpy(some.copy()).permute(2, 0, 1) / 255 for some in (image, image[:, ::-1])
    ]
    one, other = segmenter.descend(tensors, [{}, {}])
    assert torch.allclose(one["person"], other["person"].flip(-1), atol=1e-5)
