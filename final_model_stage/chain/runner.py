"""Runs the experts on views: those of several images in one batch."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from final_model_stage.chain.fold_norms import for_prediction
from final_model_stage.chain.settings import Settings
from final_model_stage.chain.views import View, at_size_of, predict
from final_model_stage.segmentation import SeenView, Watcher
from train_stage.model import Expert
from train_stage.regions import pixel_centres

Result = TypeVar("Result")

BATCH = 4
"""Views that an expert predicts at once: with 16, and as many flipped, each takes a tenth longer,
since they leave the processor's caches."""


class Runner:
    """The experts on a device, in the order of the tree."""

    def __init__(
        self,
        settings: Settings,
        experts: Mapping[str, Expert],
        device: torch.device,
        bf16: bool,
    ) -> None:
        self.settings, self.device, self.bf16 = settings, device, bf16
        # What dropout leaves out depends on the place in a batch, a prediction must not.
        self.batch = BATCH if settings.mc_dropout_samples == 1 else 1
        self.experts = {name: for_prediction(e.to(device), bf16) for name, e in experts.items()}
        if settings.mc_dropout_samples > 1:
            for expert in self.experts.values():
                expert.stochastic_encoder()

    @torch.inference_mode()
    def run(
        self,
        images: Sequence[Tensor],
        descents: Sequence[Generator[View, Tensor, Result]],
        watch: Watcher | None = None,
    ) -> list[Result]:
        """What the descents return, each of which sends views of its image (3, h, w) in 0..1.

        They are driven side by side, so that an expert predicts the views of several images.
        watch: is called with each.
        """
        with self.device if self.device.type == "cuda" else nullcontext():
            return self._run(images, descents, watch)

    def _run(
        self,
        images: Sequence[Tensor],
        descents: Sequence[Generator[View, Tensor, Result]],
        watch: Watcher | None,
    ) -> list[Result]:
        order = list(self.experts)
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
            expert = min((view.expert for view in waiting.values()), key=order.index)
            some = [i for i, view in sorted(waiting.items()) if view.expert == expert][: self.batch]
            views = [waiting.pop(i) for i in some]
            predicted = self.predict([images[i] for i in some], views, watch)
            for index, probabilities in zip(some, predicted, strict=True):
                advance(index, probabilities)
        return [results[index] for index in range(len(descents))]

    def predict(
        self, images: Sequence[Tensor], views: Sequence[View], watch: Watcher | None = None
    ) -> list[Tensor]:
        """Leaf probabilities (leaves, h, w) of one expert for a view of each image (3, h, w)."""
        name = views[0].expert
        centres = pixel_centres(self.settings.experts[name].input_size).to(self.device)
        seen = [view.crop(image, centres) for view, image in zip(views, images, strict=True)]
        crops = torch.stack([crop for crop, _, _ in seen])
        masks = torch.stack([mask for _, mask, _ in seen])
        told = [parent for _, _, parent in seen if parent is not None]
        parents = torch.stack(told) if told else None
        flipped = self.settings.class_tree.flipped(name) if self.settings.tta_flip else None
        samples, is_cuda = self.settings.mc_dropout_samples, self.device.type == "cuda"
        with (
            torch.random.fork_rng([self.device] if is_cuda else [], enabled=samples > 1),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            if samples > 1:
                torch.manual_seed(self.settings.seed)
            total = torch.zeros(())
            for _ in range(samples):
                total = total + predict(self.experts[name], crops, masks, parents, flipped)
        predicted = total / samples
        if watch is not None:
            shares = at_size_of(crops, predicted)
            for crop, mask, own in zip(crops, masks, shares, strict=True):
                shown = (crop, mask[0] > 0.5, own)
                watch(SeenView(name, *(tensor.cpu().numpy() for tensor in shown)))
        return [view.paste(own) for view, own in zip(views, predicted, strict=True)]
