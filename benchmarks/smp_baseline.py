"""The baseline: segmentation_models_pytorch's `Unet` and the loop that its users write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from preprocessing_stage.dataset.class_tree import IGNORE
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from train_stage.colour_statistics import MEAN, STD
from train_stage.precision import pick_precision

ENCODER = "tf_efficientnet_lite0"
AS_ONE_EXPERT = (80, 48, 32, 24, 16)
"""Channels of a decoder that make a network as large as one expert of params.yaml."""
AS_THE_CHAIN = (672, 336, 168, 84, 42)
"""The same for all four together."""


def unet(encoder: str, classes: int, decoder: Sequence[int] = (256, 128, 64, 32, 16)) -> nn.Module:
    """A `Unet` with random weights. Raises SystemExit if the package is not installed."""
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as error:
        raise SystemExit("benchmarks need `pip install '.[dev]'`") from error
    network: nn.Module = smp.Unet(
        encoder, encoder_weights=None, classes=classes, decoder_channels=tuple(decoder)
    )
    return network


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


class Photographs(Dataset[tuple[Tensor, Tensor]]):
    """Photograph (3, S, S) float32 and target (S, S) long, read and changed anew each time."""

    def __init__(self, folder: DatasetFolder, ids: list[str], table: np.ndarray, size: int) -> None:
        """table: leaf id -> class, (256,) uint8."""
        self.paths = [(folder.image_path(i), folder.label_path(i)) for i in ids]
        self.table = table
        self.change = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.4, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        photograph, label_map = self.paths[index]
        image = tv_tensors.Image(v2.functional.pil_to_tensor(Image.open(photograph).convert("RGB")))
        labels = self.table[np.array(Image.open(label_map))]
        image, target = self.change(image, tv_tensors.Mask(torch.from_numpy(labels)))
        return image.as_subclass(Tensor), target.as_subclass(Tensor).long()


def loader(samples: Photographs, batch_size: int, workers: int = 2) -> DataLoader[Any]:
    return DataLoader(
        samples,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, target: Tensor
) -> float:
    """A plain step in the precision that suits the processor; the loss."""
    optimizer.zero_grad()
    bf16 = pick_precision("auto", "cpu") == "bf16-mixed"
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = network(image)
    loss = F.cross_entropy(logits.float(), target, ignore_index=IGNORE)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.item()
