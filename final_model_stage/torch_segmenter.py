"""A segmenter that runs the chain with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from final_model_stage.chain.decisions import decide, resize
from final_model_stage.chain.files import read_segmenter, write_segmenter
from final_model_stage.chain.runner import Runner
from final_model_stage.chain.settings import Settings
from final_model_stage.segmentation import Segmentation, Segmenter, Watcher
from final_model_stage.segmenter import Chain
from preprocessing_stage.dataset.shrink import shrink
from train_stage.model import Expert
from train_stage.precision import Precision, pick_precision


class TorchSegmenter(Segmenter):
    """A segmenter in PyTorch, on any device."""

    def __init__(
        self,
        settings: Settings,
        experts: Mapping[str, Expert],
        precision: Precision = "auto",
        device: str | None = None,
    ) -> None:
        """experts: one for each inner node of the tree. device: None = a GPU where there is one.

        Raises ValueError for an unknown precision.
        """
        super().__init__(settings)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        bf16 = pick_precision(precision, self.device.type) == "bf16-mixed"
        self.chain = Chain(settings, device=self.device)
        self.experts = {name: experts[name] for name in self.tree.experts}
        self.runner = Runner(settings, self.experts, self.device, bf16)

    @staticmethod
    def load(
        path: Path | str,
        precision: Precision = "auto",
        *,
        fast: bool = False,
        device: str | None = None,
    ) -> TorchSegmenter:
        """As `Segmenter.load`, in PyTorch in any case."""
        settings, experts = read_segmenter(Path(path))
        return TorchSegmenter(settings.fast if fast else settings, experts, precision, device)

    def save(self, path: Path | str) -> None:
        """Write `segmenter.json` and a safetensors file for each expert into the folder `path`."""
        write_segmenter(Path(path), self.settings, self.experts)

    def _label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [labels for labels, _ in self.predict(images)]

    def _segment(self, image: np.ndarray, watch: Watcher | None) -> Segmentation:
        [(labels, probabilities)] = self.predict([image], watch=watch)
        return Segmentation(labels, resize(probabilities, labels.shape).numpy(), self.tree)

    def predict(
        self,
        images: Sequence[np.ndarray],
        possible: Sequence[Tensor] | None = None,
        root: Sequence[Tensor] | None = None,
        watch: Watcher | None = None,
    ) -> list[tuple[np.ndarray, Tensor]]:
        """Leaf ids (H, W) uint8 of each image, and its leaf probabilities (leaves, h, w) float32
        on the chain's grid.

        possible: of each image (leaves, H, W) bool, leaves that an oracle leaves open.
        root: what `predict_root` gave for the images, so that it is not predicted again.
        watch: see `segment`.
        """
        self._check(images)
        small = self._reduced(images)
        descents = []
        for i, image in enumerate(small):
            height, width = image.shape[1:]
            open_leaves = None
            if possible is not None:
                grid, full = self.chain.grid(height, width), possible[i][None].to(self.device)
                open_leaves = F.interpolate(full.float(), grid, mode="nearest-exact")[0] > 0
            descents.append(
                self.chain.descend(height, width, open_leaves, root[i] if root else None)
            )
        results = []
        for i, probabilities in enumerate(self.runner.run(small, descents, watch)):
            full = resize(probabilities, images[i].shape[:2])
            if possible is not None:
                full = full * possible[i].to(self.device)
            labels = decide(self.tree, full, self.settings.mode)
            results.append((labels.cpu().numpy(), probabilities.cpu()))
        return results

    def predict_root(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """Leaf probabilities of the root expert added up over its views, (leaves, h, w) float32
        on the chain's grid.

        They do not depend on what follows, so `predict` takes them again and again.
        """
        small = self._reduced(images)
        return self.runner.run(small, [self.chain.root_views(*i.shape[1:]) for i in small])

    def _reduced(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        """(3, h, w) float in 0..1 of each image, no longer than training samples were."""
        small = [shrink(image, self.settings.longest_side) for image in images]
        on_device = (torch.from_numpy(image.copy()).to(self.device) for image in small)
        return [image.permute(2, 0, 1).float() / 255 for image in on_device]
