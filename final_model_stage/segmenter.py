"""The experts chained into one segmenter.

segmenter = Segmenter.load("models/segmenter")
labels = segmenter(image)
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from final_model_stage.chain.decisions import Conditionals, decide, leaf_probabilities, resize
from final_model_stage.chain.descent import Chain
from final_model_stage.chain.fold_norms import for_prediction
from final_model_stage.chain.settings import Settings, read_settings
from final_model_stage.chain.views import View, predict
from final_model_stage.chain.weights import read_expert, write_expert
from preprocessing_stage.dataset.atomic_write import write_json
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.shrink import shrink
from train_stage.model import Expert
from train_stage.precision import Precision, pick_precision
from train_stage.regions import pixel_centres

Result = TypeVar("Result")

BATCH = 4
"""Views that an expert predicts at once: with 16, and as many flipped, each takes a tenth longer,
since they leave the processor's caches."""


@dataclass(frozen=True)
class Segmentation:
    """The prediction for one image of height H and width W."""

    labels: np.ndarray
    """(H, W) uint8 leaf ids."""
    leaf_probabilities: np.ndarray
    """(leaves, H, W) float32 in the order of `tree.leaves`; their sum is 1 everywhere."""
    uncertainty: np.ndarray
    """(H, W) float32: entropy of the leaf probabilities over its maximum, from 0 to 1."""
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
        """experts: one for each inner node of the tree. device: None = a GPU where there is one.

        Raises ValueError for an unknown precision.
        """
        self.settings = settings
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.bf16 = pick_precision(precision, self.device.type) == "bf16-mixed"
        self.chain = Chain(settings)
        self.tree = self.chain.tree
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
        device: str | None = None,
    ) -> Segmenter:
        """The segmenter in a folder. Raises OSError, or ValueError if its files do not fit.

        fast: one view by each expert, without test-time augmentation, whatever the settings say.
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
        return cls(settings, experts, precision, device)

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
        [(labels, _)] = self.predict([image])
        return labels

    def segment(self, image: np.ndarray) -> Segmentation:
        """Leaf ids with probabilities and uncertainty of an RGB image (H, W, 3) uint8."""
        [(labels, conditionals)] = self.predict([image])
        probabilities = leaf_probabilities(self.tree, resize(conditionals, labels.shape))
        entropy = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(0)
        uncertainty = entropy / np.log(len(self.tree.leaves))
        return Segmentation(labels, probabilities.numpy(), uncertainty.numpy(), self.tree)

    def predict(
        self,
        images: Sequence[np.ndarray],
        oracle: Sequence[Conditionals] | None = None,
        root: Sequence[Tensor] | None = None,
    ) -> list[tuple[np.ndarray, Conditionals]]:
        """Leaf ids (H, W) uint8 of each image, and all conditionals at the reduced size.

        oracle: per image, at its own size, conditionals that replace those of the experts they
        name. root: what `predict_root` gave for the images, so that it is not predicted again.
        """
        small = self._reduced(images)
        parents = [
            {
                name: F.interpolate(truth[None], image.shape[1:], mode="nearest-exact")[0]
                for name, truth in some.items()
            }
            for some, image in zip(oracle or [{}] * len(images), small, strict=True)
        ]
        descents = []
        for i, (image, some) in enumerate(zip(small, parents, strict=True)):
            height, width = image.shape[1:]
            descents.append(self.chain.descend(height, width, some, root[i] if root else None))
        results = []
        for index, conditionals in enumerate(self._run(small, descents)):
            full = resize(conditionals, images[index].shape[:2])
            if oracle:
                full |= oracle[index]
            labels = decide(self.tree, full, self.settings.mode)
            results.append((labels.numpy(), conditionals))
        return results

    def predict_root(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Leaf probabilities of the root expert, (leaves, h, w) float32 at the reduced sizes.

        They do not depend on what follows, so `predict` takes them again and again.
        """
        small = self._reduced(images)
        return self._run(small, [self.chain.root_views(*i.shape[1:]) for i in small])

    def _reduced(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(3, h, w) float in 0..1 of each image, no longer than training samples were."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(
                    f"image is {image.dtype} {image.shape}, needs RGB, uint8 (height, width, 3)"
                )
        small = [shrink(image, self.settings.longest_side) for image in images]
        return [torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 for image in small]

    @torch.inference_mode()
    def _run(
        self, images: Sequence[Tensor], descents: Sequence[Generator[View, Tensor, Result]]
    ) -> list[Result]:
        """Drive the descents side by side: views of the same expert are predicted together."""
        results: dict[int, Result] = {}
        waiting: dict[int, View] = {}

        def advance(index: int, probabilities: Tensor | None) -> None:
            try:
                waiting[index] = descents[index].send(probabilities)  # type: ignore[arg-type]
            except StopIteration as end:
                results[index] = end.value

        for index in range(len(descents)):
            advance(index, None)
        while waiting:
            # The one highest in the tree first, so that all images come to the next together.
            expert = min((view.expert for view in waiting.values()), key=self.tree.experts.index)
            some = [i for i, view in sorted(waiting.items()) if view.expert == expert][:BATCH]
            views = [waiting.pop(i) for i in some]
            predicted = self._predict([images[i] for i in some], views)
            for index, probabilities in zip(some, predicted, strict=True):
                advance(index, probabilities)
        return [results[index] for index in range(len(descents))]

    def _predict(self, images: Sequence[Tensor], views: Sequence[View]) -> list[Tensor]:
        """Leaf probabilities (leaves, h, w) of one expert for a view of each image."""
        name = views[0].expert
        centres = pixel_centres(self.settings.experts[name].input_size)
        pairs = [view.crop(image, centres) for view, image in zip(views, images, strict=True)]
        crops, masks = (torch.stack(some).to(self.device) for some in zip(*pairs, strict=True))
        samples, is_cuda = self.settings.mc_dropout_samples, self.device.type == "cuda"
        with (
            torch.random.fork_rng([self.device] if is_cuda else [], enabled=samples > 1),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            if samples > 1:
                torch.manual_seed(self.settings.seed)
            total = torch.zeros(())
            for _ in range(samples):
                found = predict(self.prepared[name], crops, masks, self.settings.tta_flip)
                total = total + found.cpu()
        return [view.paste(own) for view, own in zip(views, total / samples, strict=True)]
