"""Images and targets of a split, each in the corner of a square, so that they stack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from preprocessing_stage.dataset.packed_samples import PackedSplit


class Canvases:
    """Lie on a GPU as a whole where they fit, otherwise a batch is read at a time."""

    def __init__(self, split: PackedSplit, codes: np.ndarray, device: torch.device) -> None:
        """codes: (256,) uint8, what stands for each label; 0 is what lies beside the image."""
        self.split, self.codes, self.device = split, codes, device
        self.side = max(max(row.size) for row in split.rows)
        self._all: tuple[Tensor, Tensor] | None = None
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if 4 * len(split) * self.side**2 < free / 2:
                self._all = self._read(range(len(split)))

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, L, L) and codes (B, 1, L, L), uint8, on the device."""
        if self._all is None:
            return self._read(indices)
        places = torch.tensor(indices, device=self.device)
        images, codes = self._all
        return images[places], codes[places]

    def _read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        shape = (len(indices), self.side, self.side)
        images, codes = np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 1), np.uint8)
        for place, index in enumerate(indices):
            height, width = self.split.rows[index].size
            images[place, :height, :width] = self.split.image(index)
            codes[place, :height, :width, 0] = self.codes[self.split.labels(index)]
        both = (torch.from_numpy(values).to(self.device) for values in (images, codes))
        images_, codes_ = (values.permute(0, 3, 1, 2).contiguous() for values in both)
        return images_, codes_
