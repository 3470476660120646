"""The chain for one image as a graph: tensors in, tensors out, no branch on their values.

The method is that of final_model_stage.segmenter; here it is only recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from final_model_stage.chain.decisions import decide, resize
from final_model_stage.chain.settings import Settings
from final_model_stage.chain.views import View, at_size_of, predict
from final_model_stage.segmenter import Chain
from train_stage.model import Expert
from train_stage.regions import pixel_centres

Experts = Callable[[str, Tensor, Tensor, Tensor | None, Tensor], Tensor]
"""Expert's name, crops (B, 3, S, S), masks (B, 1, S, S), the parent's probabilities (B, leaves, S,
S) if it gets them, and a bool () that says whether any of it is used -> logits (B, leaves, s, s),
of any value if it is not."""


class Networks(nn.Module):
    """`Experts` that are recorded along with the chain: all predict, whether used or not."""

    def __init__(self, experts: Mapping[str, Expert]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(copy.deepcopy(dict(experts))).cpu().eval()

    def forward(
        self, name: str, crops: Tensor, masks: Tensor, parents: Tensor | None, used: Tensor
    ) -> Tensor:
        logits: Tensor = self.networks[name](crops, masks, parents)
        return logits


class ChainGraph(nn.Module):
    """A segmenter that can be recorded: for one image of any size."""

    def __init__(self, settings: Settings, experts: Experts, *, watched: bool = False) -> None:
        """watched: whether it also gives what each expert sees and predicts.

        Raises ValueError for MC-dropout samples: a graph is deterministic.
        """
        super().__init__()
        if settings.mc_dropout_samples > 1:
            raise ValueError(
                f"the segmenter averages {settings.mc_dropout_samples} MC-dropout samples, which "
                "no graph can repeat; export one with `mc_dropout_samples` 1 in segmenter.json"
            )
        self.settings, self.experts, self.watched = settings, experts, watched
        self.chain = Chain(settings, traced=True)
        for name, expert in settings.experts.items():
            self.register_buffer(f"centres_{name}", pixel_centres(expert.input_size))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Leaf probabilities (leaves, H, W) float32 and leaf ids (H, W) uint8; if watched, also
        of each view whether it is used, crop, mask and probabilities as in SeenView.

        image: (H, W, 3) uint8 RGB.
        """
        height, width = image.shape[:2]
        small = self._shrink(image.permute(2, 0, 1)[None].float())[0] / 255
        descent = self.chain.descend(*small.shape[1:])
        view = next(descent)
        seen: list[Tensor] = []
        while True:
            try:
                pasted, *shown = self._predict(view, small)
                seen += shown
                view = descent.send(pasted)
            except StopIteration as end:
                probabilities = resize(end.value, (height, width))
                break
        labels = decide(self.chain.tree, probabilities, self.settings.mode)
        return (probabilities, labels, *seen) if self.watched else (probabilities, labels)

    def _predict(self, view: View, image: Tensor) -> tuple[Tensor, ...]:
        """Leaf probabilities (leaves, h, w) of a view of an image (3, h, w), and what it saw."""
        crop, mask, parent = view.crop(image, self.get_buffer(f"centres_{view.expert}"))
        used = view.used.any()

        def network(crops: Tensor, masks: Tensor, parents: Tensor | None) -> Tensor:
            return self.experts(view.expert, crops, masks, parents, used)

        told = None if parent is None else parent[None]
        flipped = self.chain.tree.flipped(view.expert) if self.settings.tta_flip else None
        [found] = predict(network, crop[None], mask[None], told, flipped)
        if not self.watched:
            return (view.paste(found),)
        [shown] = at_size_of(crop[None], found[None])
        return view.paste(found), used, crop, mask[0] > 0.5, shown

    def _shrink(self, image: Tensor) -> Tensor:
        """As preprocessing_stage.dataset.shrink: (1, 3, H, W) float32 of whole numbers 0 to 255."""
        height, width = image.shape[2:]
        longest = torch.sym_max(height, width)
        allowed = torch.sym_min(longest, self.settings.longest_side)
        small_height, small_width = (  # rounded
            torch.sym_max(1, (2 * side * allowed + longest) // (2 * longest))
            for side in (height, width)
        )
        # Pillow scales rows, rounds, and then columns; images more than twice as high as wide it
        # takes the other way round, where values may differ by one here and there.
        sizes: list[Any] = [(height, small_width), (small_height, small_width)]
        for size in sizes:
            image = F.interpolate(image, size, mode="bicubic", antialias=True)
            image = image.round().clamp(0, 255)
        return image


def export_chain(graph: ChainGraph) -> ExportedProgram:
    """The recorded chain, for images of any size."""
    example = torch.randint(0, 256, (90, 120, 3), dtype=torch.uint8)
    sides = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(graph, (example,), dynamic_shapes=(sides,))
    for node in program.graph.nodes:  # paths of this machine's files, which are nobody's business
        node.meta.pop("stack_trace", None)
    return program
