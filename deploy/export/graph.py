"""The chain for one image as a graph: tensors in, tensors out, no branch on their values.

Says what segmenter.py says, but regions are boxed, warped and unwarped by operations that torch
and ONNX can record. An expert whose region is empty is asked all the same; nothing of its answer
is used.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from final_model_stage.chain.decisions import leaf_probabilities, revised
from final_model_stage.chain.views import SECOND_LOOK_SHARE, end_squares
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.class_tree import BACKGROUND, Node
from train_stage.regions import clip_box, region_box, whole_image


class Chain(nn.Module):
    """A segmenter that can be exported: of one image of any size."""

    def __init__(self, segmenter: Segmenter) -> None:
        """Raises ValueError for a segmenter of stochastic mc_dropout_samples: a graph draws no order."""
        super().__init__()
        if segmenter.settings.mc_dropout_samples > 1:
            raise ValueError(
                f"the segmenter averages {segmenter.settings.mc_dropout_samples} stochastic passes, which no "
                "graph can repeat; export one with `mc_dropout_samples` 1 in segmenter.json"
            )
        self.settings, self.tree = segmenter.settings, segmenter.tree
        self.node_leaves = segmenter.node_leaves
        self.experts = nn.ModuleDict(copy.deepcopy(segmenter.experts)).cpu()
        for name, settings in self.settings.experts.items():
            # Constants of the graph: other libraries space them otherwise by a bit.
            self.register_buffer(f"centres_{name}", pixel_centres(settings.input_size))
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Leaf probabilities (leaves, H, W) float32 and leaf ids (H, W) uint8.

        image: (H, W, 3) uint8 RGB.
        """
        height, width = image.shape[:2]
        small = self._shrink(image.permute(2, 0, 1)[None].float()) / 255
        conditionals = {
            name: F.interpolate(split, (height, width), mode="bilinear")[0]
            for name, split in self._descend(small).items()
        }
        probabilities = leaf_probabilities(self.tree, conditionals)
        if self.settings.mode == "hard":
            return probabilities, self._hard(self.tree.root, conditionals)
        ids = torch.tensor([leaf.id for leaf in self.tree.leaves], dtype=torch.uint8)
        return probabilities, ids[probabilities.argmax(0)]

    def _shrink(self, image: Tensor) -> Tensor:
        """As preprocessing_stage.dataset.shrink: (1, 3, H, W) float32 of whole numbers 0 to 255."""
        height, width = image.shape[2:]
        longest = torch.sym_max(height, width)
        allowed = torch.sym_min(longest, self.settings.longest_side)
        small_height, small_width = (  # rounded
            torch.sym_max(1, (2 * side * allowed + longest) // (2 * longest))
            for side in (height, width)
        )
        # Pillow scales rows, rounds, and then columns; pictures more than twice as high as wide it
        # takes the other way round, where values may differ by one here and there.
        sizes: list[Any] = [(height, small_width), (small_height, small_width)]
        for size in sizes:
            image = F.interpolate(image, size, mode="bicubic", antialias=True)
            image = image.round().clamp(0, 255)
        return image

    def _descend(self, image: Tensor) -> dict[str, Tensor]:
        """Expert name -> (1, children, h, w): as Segmenter.descend.

        image: (1, 3, h, w) in 0..1.
        """
        found = {}
        belief = torch.full_like(image[0, :1], 1 / len(self.tree.leaves))
        belief = belief.repeat(len(self.tree.leaves), 1, 1)
        regions = {self.tree.root.name: torch.ones_like(image[:, :1], dtype=torch.bool)}
        for name in self.tree.experts:
            region = regions[name]
            said = (
                self._ask_root(image, region)
                if name == self.tree.root.name
                else self._ask(name, image, region, self._box(name, region))
            )
            node = self.node_leaves[name]
            own = revised(belief[node.rows], said[0], region[0, 0], node)
            belief = belief.index_copy(0, node.rows, own)
            found[name] = node.split(own)[None]
            claimed = found[name].argmax(1, keepdim=True)
            for k, child in enumerate(self.tree[name].children):
                regions[child.name] = region & (claimed == k) & (found[name][:, k : k + 1] > 0)
        return found

    def _ask_root(self, image: Tensor, region: Tensor) -> Tensor:
        """As Segmenter._ask_root: the mean of all looks that see a pixel."""
        root = self.tree.root
        height, width = image.shape[2:]
        said = self._ask(root.name, image, region, whole_image(height, width))
        if not self.settings.tta_views:
            return said
        oblong = torch.scalar_tensor(height) != torch.scalar_tensor(width)
        for square in end_squares(height, width):
            within = inside_box(square, height, width) & oblong
            said = said + within * self._ask(root.name, image, region, square)
        background = [child.id == BACKGROUND for child in root.children]
        if not any(background):
            return said / said.sum(1, keepdim=True)
        split = self.node_leaves[root.name].split(said[0])
        foreground = split.argmax(0)[None, None] != background.index(True)
        box = clip_box(self._box(root.name, foreground), height, width)
        left, top, right, bottom = box.unbind()
        small = (right - left) * (bottom - top) < SECOND_LOOK_SHARE * height * width
        within = inside_box(box, height, width) & small & foreground.any()
        said = said + within * self._ask(root.name, image, region, box)
        return said / said.sum(1, keepdim=True)

    def _box(self, name: str, region: Tensor) -> Tensor:
        """What an expert looks at, (4,), of a region (1, 1, h, w) bool."""
        return region_box(region[0, 0], self.settings.experts[name].box_margin)

    def _ask(self, name: str, image: Tensor, region: Tensor, box: Tensor) -> Tensor:
        """Probabilities (1, leaves, h, w) of one expert, which sees what lies in the box (4,).

        region: (1, 1, h, w) bool.
        """
        height, width = image.shape[2:]
        there = grid_in_image(box, self.get_buffer(f"centres_{name}"), height, width)
        inside = F.grid_sample(region.float(), there, "nearest", "zeros", align_corners=False)
        shown = F.grid_sample(image, there, "bilinear", "zeros", align_corners=False)
        if self.settings.tta_flip:
            inside, shown = torch.cat([inside, inside.flip(-1)]), torch.cat([shown, shown.flip(-1)])
        said = self.experts[name](shown, inside).softmax(1)
        if self.settings.tta_flip:
            said = (said[:1] + said[1:].flip(-1)) / 2
        back = grid_in_box(box, height, width)
        return F.grid_sample(said, back, "bilinear", "border", align_corners=False)

    def _hard(self, node: Node, conditionals: dict[str, Tensor]) -> Tensor:
        """Leaf ids (H, W) uint8 of what lies in a node: the likeliest child's, again and again."""
        if node.id is not None:
            [any_of_its_size, *_] = conditionals.values()
            return torch.full_like(any_of_its_size[0], node.id, dtype=torch.uint8)
        claimed = conditionals[node.name].argmax(0)
        first, *others = (self._hard(child, conditionals) for child in node.children)
        for k, other in enumerate(others, 1):
            first = torch.where(claimed == k, other, first)
        return first


def pixel_centres(size: int) -> Tensor:
    """(size,) float32, where the pixels of a side lie in -1..1, to the bit as F.affine_grid."""
    return torch.linspace(-1, 1, size) * (size - 1) / size


def inside_box(box: Tensor, height: int, width: int) -> Tensor:
    """(height, width) bool, the pixels of a box (4,) of whole pixels."""
    left, top, right, bottom = box.unbind()
    x, y = torch.arange(width), torch.arange(height)[:, None]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def grid_in_image(box: Tensor, centres: Tensor, height: int, width: int) -> Tensor:
    """Where the pixels of a picture of a box (4,) lie in the image: (1, S, S, 2).

    centres: (S,) of the picture, as `pixel_centres` has them. The operations are those of
    train_stage.regions.warp in the same order: often a pixel lies in the middle between two of the
    image, and the last bit decides which of them the mask takes.
    """
    left, top, right, bottom = box.unbind()
    to_x, to_y = 2 / torch.scalar_tensor(width), 2 / torch.scalar_tensor(height)
    x = centres * ((right - left) / 2 * to_x) + ((left + right) / 2 * to_x - 1)
    y = centres * ((bottom - top) / 2 * to_y) + ((top + bottom) / 2 * to_y - 1)
    return _grid(x, y)


def grid_in_box(box: Tensor, height: int, width: int) -> Tensor:
    """Where the pixels of the image lie in a box (4,): (1, height, width, 2)."""
    left, top, right, bottom = box.unbind()
    x = (torch.arange(width) + 0.5 - left) * (2 / (right - left)) - 1
    y = (torch.arange(height) + 0.5 - top) * (2 / (bottom - top)) - 1
    return _grid(x, y)


def _grid(x: Tensor, y: Tensor) -> Tensor:
    """(w,) and (h,) in -1..1 -> (1, h, w, 2)."""
    wide, high = x[None, :], y[:, None]
    return torch.stack([wide + 0 * high, high + 0 * wide], dim=-1)[None]
