"""What is checked before loaders begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from train_fixtures import TREE, expert_params

from preprocessing_stage.dataset.user_error import UserError
from train_stage import loaders
from train_stage.params import MachineParams
from train_stage.task import Task


@pytest.mark.parametrize(
    ("parent_channels", "channels"), [(False, 3 + 1 + 2), (True, 3 + 1 + 2 + 2)]
)
def test_workers_need_shared_memory_for_their_batches(
    parent_channels: bool, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = expert_params("body", regions="predicted", model={"parent_channels": parent_channels})
    task = Task("body", TREE, "body", params, MachineParams(devices=1, loader_workers=2), Path())
    needed = 4 * params.batch_size * params.last_input_size**2 * channels * (2 * 2 + 1)
    monkeypatch.setattr(loaders, "SHARED_MEMORY", Path("/"))
    usage = SimpleNamespace(free=needed)
    monkeypatch.setattr(loaders.shutil, "disk_usage", lambda _: usage)
    loaders._check_shared_memory(task)
    usage.free -= 1
    with pytest.raises(
        UserError, match=r"machine\.loader_workers: 2 need .* \(docker run --shm-size\)"
    ):
        loaders._check_shared_memory(task)
