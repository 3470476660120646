"""What is checked before loaders begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning_fabric import Fabric
from train_fixtures import TREE, expert_params

from preprocessing_stage.dataset.user_error import UserError
from train_stage import loaders
from train_stage.params import MachineParams
from train_stage.task import Task


def test_workers_need_shared_memory_for_their_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches of 131,072 bytes for each worker and the one in use: of four samples of 32 x 32
    pixels with 4 bytes for each channel of image, region and the parent's two leaves, 8 of target.
    """
    params = expert_params("body", regions="predicted", model={"parent_channels": True})
    task = Task("body", TREE, "body", params, MachineParams(devices=1, loader_workers=2), Path())
    fabric = Fabric(accelerator="cpu", devices=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loaders, "SHARED_MEMORY", Path("/"))
    usage = SimpleNamespace(free=655_359)
    monkeypatch.setattr(loaders.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"machine\.loader_workers: 2 need .* \(docker run --shm-size\)"
    ):
        loaders.make_loaders(task, fabric)
    usage.free += 1
    with pytest.raises(UserError, match="checksums"):  # it goes on, and finds no samples
        loaders.make_loaders(task, fabric)
