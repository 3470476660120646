"""The experts chained into one segmenter.

segmenter = Segmenter.load("models/segmenter")
labels = segmenter(image)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from final_model_stage.chain.decisions import (
    Conditionals,
    NodeLeaves,
    hard_decision,
    leaf_probabilities,
    likeliest,
    product_decision,
    resize,
    revised,
)
from final_model_stage.chain.fold_norms import for_prediction
from final_model_stage.chain.settings import Settings, read_settings
from final_model_stage.chain.views import closer_box, end_squares
from final_model_stage.chain.weights import read_expert, write_expert
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.shrink import shrink
from train_stage.model import Expert
from train_stage.precision import Precision, pick_precision
from train_stage.regions import box_frame, box_slices, region_box, unwarp, warp, whole_image

BATCH = 4
"""Images that an expert is asked about at once: with 16, and as many mirrored, each takes a tenth
longer, since they leave the processor's caches."""


@dataclass(frozen=True)
class Segmentation:
    """What the segmenter says of one image of height H and width W."""

    labels: np.ndarray
    """(H, W) uint8 leaf ids."""
    leaf_probabilities: np.ndarray
    """(leaves, H, W) float32 in the order of `tree.leaves`; their sum is 1 everywhere."""
    uncertainty: np.ndarray
    """(H, W) float32: entropy of the leaf probabilities over its maximum, 0 certain, 1 none."""
    tree: ClassTree

    def probability(self, name: str) -> np.ndarray:
        """(H, W) float32 of one class: the sum of its leaves."""
        return self.leaf_probabilities[self.tree.rows(name)].sum(0)

    def probabilities(self, level: int) -> dict[str, np.ndarray]:
        """Class name -> (H, W) float32 for the classes of a level."""
        return {node.name: self.probability(node.name) for node in self.tree.level(level)}


class Segmenter:
    """A chain of experts, from the root of the class tree down to its leaves."""

    def __init__(
        self,
        settings: Settings,
        experts: Mapping[str, Expert],
        precision: Literal["auto"] | Precision = "auto",
        device: str | None = None,
    ) -> None:
        """experts: one for each inner node of the tree. device: None = a GPU where there is one."""
        self.settings = settings
        self.tree = ClassTree(settings.tree)
        self.node_leaves = {name: NodeLeaves.of(self.tree, name) for name in self.tree.experts}
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bf16 = pick_precision(precision) == "bf16-mixed"
        self.experts = {name: experts[name].to(self.device) for name in self.tree.experts}
        # What predicts; `experts` are what is saved and exported.
        self.prepared = {name: for_prediction(e, self.bf16) for name, e in self.experts.items()}
        if settings.mc_dropout_samples > 1:
            for expert in self.prepared.values():
                expert.stochastic_encoder()

    @classmethod
    def load(
        cls,
        path: Path | str,
        precision: Literal["auto"] | Precision = "auto",
        *,
        fast: bool = False,
    ) -> Segmenter:
        """The segmenter in a folder. Raises OSError, or ValueError if its files do not fit.

        fast: each expert looks once, whatever the settings say: no `tta_views`, no `tta_flip`.
        """
        path = Path(path)
        settings = read_settings(path / "segmenter.json")
        if fast:
            settings = settings.model_copy(update={"tta_views": False, "tta_flip": False})
        tree = ClassTree(settings.tree)
        experts = {
            name: read_expert(
                path / f"{name}.safetensors",
                settings.experts[name].model,
                len(tree.leaves_of(name)),
                settings.sha256.get(name),
            )
            for name in tree.experts
        }
        return cls(settings, experts, precision)

    def save(self, path: Path | str) -> None:
        """Write `segmenter.json` and a safetensors file for each expert into the folder `path`."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        sums = {
            name: write_expert(expert, path / f"{name}.safetensors")
            for name, expert in self.experts.items()
        }
        write_json(
            path / "segmenter.json", self.settings.model_dump(mode="json") | {"sha256": sums}
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Leaf ids (H, W) uint8 of an RGB image (H, W, 3) uint8."""
        [(labels, _)] = self.label([image])
        return labels

    def segment(self, image: np.ndarray) -> Segmentation:
        """Leaf ids with probabilities and uncertainty of an RGB image (H, W, 3) uint8."""
        [(labels, conditionals)] = self.label([image])
        probabilities = leaf_probabilities(self.tree, resize(conditionals, labels.shape))
        entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(0)
        uncertainty = entropy / np.log(len(self.tree.leaves))
        return Segmentation(labels, probabilities.numpy(), uncertainty.numpy(), self.tree)

    def label(
        self,
        images: Sequence[np.ndarray],
        truths: Sequence[Conditionals] | None = None,
        root: Sequence[Tensor] | None = None,
    ) -> list[tuple[np.ndarray, Conditionals]]:
        """Leaf ids (H, W) uint8 of each image, and what each expert said at the reduced size.

        truths: per image, at its own size, conditionals that replace those of the experts they
        name: oracle parents. root: what `ask_root` said of the images, if it was asked before.
        """
        tensors = self._reduced(images)
        known = [
            {
                name: F.interpolate(truth[None], image.shape[1:], mode="nearest-exact")[0]
                for name, truth in some.items()
            }
            for some, image in zip(truths or [{}] * len(images), tensors, strict=True)
        ]
        results = []
        for index, conditionals in enumerate(self.descend(tensors, known, root)):
            full = resize(conditionals, images[index].shape[:2])
            if truths:
                full |= truths[index]
            decide = hard_decision if self.settings.mode == "hard" else product_decision
            results.append((decide(self.tree, full).numpy(), conditionals))
        return results

    def ask_root(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """What the root expert says of images, (leaves, h, w) float32 each at its reduced size.

        Whatever is known further down, it says the same: `label` takes it again and again.
        """
        return self._ask_root(self._reduced(images))

    def _reduced(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(
                    f"image is {image.dtype} {image.shape}, needs RGB, uint8 (height, width, 3)"
                )
        small = [shrink(image, self.settings.longest_side) for image in images]
        return [torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 for image in small]

    @torch.inference_mode()
    def descend(
        self,
        images: Sequence[Tensor],
        known: Sequence[Conditionals],
        root: Sequence[Tensor] | None = None,
    ) -> list[Conditionals]:
        """Ask the experts from the root down; each sees what its parent claimed.

        What is believed of the leaves goes down with the regions: at first what the root says;
        each further expert averages its own answer with it, inside its region. So all experts on
        the way to a pixel have an equal say there, and the last one is not left alone with what
        it sees.

        images: (3, h, w) float in 0..1. known: per image, conditionals that hold whatever the
        experts say. root: what the root says, (leaves, h, w) each, if it was asked before.
        """
        found: list[Conditionals] = [{} for _ in images]
        leaves = len(self.tree.leaves)
        beliefs = [torch.full((leaves, *image.shape[1:]), 1 / leaves) for image in images]
        regions = [
            {self.tree.root.name: torch.ones(image.shape[1:], dtype=torch.bool)} for image in images
        ]
        for name in self.tree.experts:
            inside = [region[name] for region in regions]
            asked = [i for i in range(len(images)) if inside[i].any()]
            some, own = [images[i] for i in asked], [inside[i] for i in asked]
            answers: Sequence[Tensor]
            if name == self.tree.root.name:
                answers = root or self._ask_root(some)
            else:
                margin = self.settings.experts[name].box_margin
                answers = self._ask(name, some, own, [region_box(r, margin) for r in own])
            node = self.node_leaves[name]
            for i, answer in zip(asked, answers, strict=True):
                beliefs[i][node.rows] = revised(beliefs[i][node.rows], answer, inside[i], node)
            for i, region in enumerate(inside):
                split = known[i].get(name, node.split(beliefs[i][node.rows]))
                found[i][name] = split
                claimed = likeliest(split)
                for k, child in enumerate(self.tree[name].children):
                    # Where truth is given but not known, no child has a share.
                    regions[i][child.name] = region & (claimed == k) & (split[k] > 0)
        return found

    @torch.inference_mode()
    def _ask_root(self, images: list[Tensor]) -> list[Tensor]:
        """As `_ask`; the mean of all looks that see a pixel.

        First the whole image, squeezed into a square. Then, if the settings say so, undistorted
        squares at both ends of its longer side, and the box around the foreground found so far:
        people who are small in the image are large there.
        """
        name, leaves = self.tree.root.name, len(self.tree.leaves)
        sizes = [image.shape[1:] for image in images]
        totals = [torch.zeros(leaves, *size) for size in sizes]
        regions = [torch.ones(size, dtype=torch.bool) for size in sizes]

        def look(boxes: dict[int, Tensor]) -> None:
            some = [images[i] for i in boxes], [regions[i] for i in boxes]
            answers = self._ask(name, *some, list(boxes.values()))
            for (i, box), answer in zip(boxes.items(), answers, strict=True):
                rows, columns = box_slices(box)
                totals[i][:, rows, columns] += answer[:, rows, columns]

        look({i: whole_image(*size) for i, size in enumerate(sizes)})
        if self.settings.tta_views:
            for end in range(2):
                look({i: end_squares(h, w)[end] for i, (h, w) in enumerate(sizes) if h != w})
            margin = self.settings.experts[name].box_margin
            node = self.node_leaves[name]
            boxes = [closer_box(total, self.tree, node, margin) for total in totals]
            look({i: box for i, box in enumerate(boxes) if box is not None})
        return [total / total.sum(0) for total in totals]

    def _ask(
        self, name: str, images: list[Tensor], regions: list[Tensor], boxes: list[Tensor]
    ) -> list[Tensor]:
        """Probabilities (leaves, h, w) from one expert, which sees what lies in the boxes."""
        size = self.settings.experts[name].input_size
        frames = [box_frame(box) for box in boxes]
        answers: list[Tensor] = []
        for start in range(0, len(images), BATCH):
            some = range(start, min(start + BATCH, len(images)))
            seen = [warp(images[i], frames[i], size) for i in some]
            masks = [warp(regions[i][None].float(), frames[i], size, "nearest") for i in some]
            inputs = torch.stack(seen).to(self.device), torch.stack(masks).to(self.device)
            answers += self._average(name, *inputs).unbind()
        return [
            unwarp(answer, frame, *region.shape)
            for answer, frame, region in zip(answers, frames, regions, strict=True)
        ]

    def _average(self, name: str, inputs: Tensor, masks: Tensor) -> Tensor:
        """Mean probabilities (B, leaves, S, S) of an expert over its passes and the mirror."""
        if self.settings.tta_flip:
            inputs, masks = torch.cat([inputs, inputs.flip(-1)]), torch.cat([masks, masks.flip(-1)])
        total = torch.zeros(())
        with (
            torch.random.fork_rng(
                [self.device] if self.device.type == "cuda" else [],
                enabled=self.settings.mc_dropout_samples > 1,
            ),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            if self.settings.mc_dropout_samples > 1:
                torch.manual_seed(self.settings.seed)
            for _ in range(self.settings.mc_dropout_samples):
                total = total + self.prepared[name](inputs, masks).softmax(1).cpu()
        mean = total / self.settings.mc_dropout_samples
        if self.settings.tta_flip:
            one, mirrored = mean.chunk(2)
            mean = (one + mirrored.flip(-1)) / 2
        return mean
