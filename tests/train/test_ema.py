"""The average of a network's weights, which is what a training validates and keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from trainers import make_trainer

from train_stage.ema import ModelEma
from train_stage.phases import Phase
from train_stage.trainer import Trainer

WHOLE = Phase("whole", 32, 1, 0.01, 0.01)


def averages(decay: float, *values: float) -> list[float]:
    """The average weight after each update, from 100 on."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 100)
    average, found = ModelEma(model, decay), []
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update()
        found.append(average.module.weight.item())
    return found


def test_the_first_update_takes_the_weights_and_later_ones_a_growing_share_stays() -> None:
    second = 2 / 11 * 3 + 9 / 11 * 7
    third = 3 / 12 * second + 9 / 12 * 11
    assert averages(0.999, 3, 7, 11) == pytest.approx([3, second, third])


def test_no_more_than_the_decay_stays() -> None:
    assert averages(0.1, 3, 7, 11) == pytest.approx([3, 6.6, 10.56])


def test_without_decay_the_average_is_the_network() -> None:
    assert averages(0, 3, 7, 11) == [3, 7, 11]


def test_batch_statistics_are_averaged_and_counts_are_not() -> None:
    norm = nn.BatchNorm1d(1, momentum=None)
    average = ModelEma(norm, 0.1)
    for mean in (2.0, 4.0):
        norm.reset_running_stats()
        norm.train()(torch.tensor([[mean - 1], [mean + 1]]))
        average.update()
    assert average.module.running_mean.item() == pytest.approx(0.1 * 2 + 0.9 * 4)
    assert average.module.running_var.item() == pytest.approx(2)
    assert average.module.num_batches_tracked == 0


def test_the_average_itself_is_neither_trained_nor_in_training() -> None:
    average = ModelEma(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(), 0.5)
    assert not any(weight.requires_grad for weight in average.module.parameters())
    assert not any(module.training for module in average.module.modules())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    trainer = make_trainer(tmp_path, ema_decay=0)
    trainer.start(WHOLE)
    return trainer


def spoil(model: nn.Module) -> None:
    for weight in model.parameters():
        nn.init.constant_(weight, torch.nan)


def test_predictions_and_validation_are_those_of_the_average(trainer: Trainer) -> None:
    batch = next(iter(trainer.loaders.val))
    expected = trainer.ema.module(batch.image, batch.region)
    loss, confusion = trainer.evaluate()
    spoil(trainer.model)
    scaled = F.interpolate(expected, batch.image.shape[-2:], mode="bilinear")
    torch.testing.assert_close(trainer.predict(batch), scaled)
    again, same = trainer.evaluate()
    assert again == loss
    assert (same == confusion).all()
    spoil(trainer.ema.module)
    assert trainer.predict(batch).isnan().all()


def test_every_step_updates_the_average_and_the_phase_ends_with_it(trainer: Trainer) -> None:
    before = trainer.ema.module.head.weight.clone()
    trainer.train_epoch(1, tqdm(disable=True))
    assert trainer.ema.count == 2
    assert not torch.equal(trainer.ema.module.head.weight, before)
    assert torch.equal(trainer.ema.module.head.weight, trainer.model.head.weight)
    spoil(trainer.model)
    trainer.load_ema()
    for name, tensor in trainer.ema.module.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], tensor), name


def test_the_decay_is_that_of_the_params(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, ema_decay=0.25)
    trainer.start(WHOLE)
    assert trainer.ema.decay == 0.25
