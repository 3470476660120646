"""Experts below the root, trained on what their parents predict."""

from __future__ import annotations

import sys
from contextlib import chdir
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from train_fixtures import TREE, draw_pairs, expert_params, write_packed, write_project
from train_runs import history, train

from preprocessing_stage.dataset.packed_samples import PackedSplit
from preprocessing_stage.dataset.user_error import UserError
from preprocessing_stage.paths import CHECKPOINTS, OUT_OF_FOLD, PACKED
from train_stage import predict_out_of_fold
from train_stage.dataset import ExpertSamples
from train_stage.loaders import weighted_split
from train_stage.params import MachineParams
from train_stage.parents import ParentPredictions
from train_stage.task import Task

SIZE = 40
MODEL = {"parent_channels": True, "rejects": True}
PREDICTED = {"regions": "predicted", "region_dilation": 0, "parent_dropout": 0.0, "model": MODEL}
CPU = torch.device("cpu")


def write_predictions(folder: Path, split: str, count: int) -> None:
    """Background everywhere but in the middle, where the upper half is surer than the lower."""
    leaves = np.zeros((count, 3, SIZE, SIZE), np.uint8)
    leaves[:, 0] = 255
    leaves[:, :, 10:30, 8:32] = np.array([55, 150, 50], np.uint8)[:, None, None]
    (folder / OUT_OF_FOLD).mkdir(parents=True, exist_ok=True)
    np.save(folder / OUT_OF_FOLD / f"{split}.npy", leaves)


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackedSplit:
    write_packed(tmp_path, {"train": draw_pairs(3)})
    write_predictions(tmp_path, "train", 3)
    monkeypatch.chdir(tmp_path)
    return PackedSplit("train", tmp_path / PACKED)


def samples(split: PackedSplit, *, augment: bool = False, **changes: object) -> ExpertSamples:
    params = expert_params("body", **(PREDICTED | {"box_margin": 0.0} | changes))
    parents = ParentPredictions(split, TREE, "body", params.region_dilation, CPU)
    return ExpertSamples(split, TREE, "body", params, augment=augment, parents=parents)


def test_the_region_is_the_predicted_one_and_its_box_fills_the_input(split: PackedSplit) -> None:
    seen = samples(split)
    assert seen.used == [0, 1, 2]
    # 40 x 48 pixels: columns 8 to 32 of 40 are 9.6 to 38.4 of 48.
    np.testing.assert_allclose(seen.boxes[0], [9.6, 10, 38.4, 30], atol=1e-4)
    batch = seen[[(0, 0), (0, 1)]]
    assert batch.region.eq(1).all()


def test_what_is_none_of_its_leaves_is_a_target_of_its_own(split: PackedSplit) -> None:
    batch = samples(split, input_size=40, zoom=False)[[(0, 0)]]
    inside = batch.region[0, 0] == 1
    assert inside.sum() == 20 * 24
    labels = torch.from_numpy(split.labels(0)[:, (np.arange(0.5, 40) * 48 / 40).astype(int)])
    expected = torch.where(labels == 0, 2, labels.long() - 1)  # upper, lower, none of them
    assert torch.equal(batch.target[0][inside], expected[inside])
    assert (batch.target[0][~inside] == 255).all()


def test_the_parents_probabilities_are_those_of_its_leaves(split: PackedSplit) -> None:
    batch = samples(split)[[(0, 0)]]
    assert batch.parent is not None
    assert batch.parent.shape == (1, 2, 32, 32)
    torch.testing.assert_close(
        batch.parent[0, :, 16, 16], torch.tensor([150, 50]) / 255, atol=1e-5, rtol=0
    )


def test_some_samples_come_without_the_parents_probabilities(split: PackedSplit) -> None:
    seen = samples(split, augment=True, parent_dropout=0.5)
    empty = 0
    for epoch in range(40):
        parent = seen[[(epoch, 0)]].parent
        assert parent is not None
        empty += int(not parent.any())
    assert 8 <= empty <= 32


def test_a_region_grows(split: PackedSplit) -> None:
    grown = samples(split, region_dilation=3).boxes[0]
    # 3 of 48 pixels are 2.5 of the 40 cells that a prediction is kept in: 3.
    np.testing.assert_allclose(grown, [5 * 1.2, 7, 35 * 1.2, 33], atol=1e-4)


def test_the_box_of_a_region_is_widened_and_has_a_margin(split: PackedSplit) -> None:
    # 28.8 wide and 20 high around (24, 20).
    for changes, half in (({"max_box_aspect": 1}, 14.4), ({"box_margin": 0.25}, 14.4 + 7.2)):
        box = samples(split, **changes).boxes[0].tolist()
        assert box[0::2] == pytest.approx([24 - half, 24 + half])
    assert samples(split, max_box_aspect=1).boxes[0, 1].item() == pytest.approx(20 - 14.4)
    assert samples(split, max_box_aspect=2).boxes[0, 1].item() == pytest.approx(10)


def test_what_the_parent_overlooks_has_its_true_region(split: PackedSplit) -> None:
    np.save(OUT_OF_FOLD / "train.npy", np.zeros((3, 3, SIZE, SIZE), np.uint8))
    batch = samples(split, input_size=40, zoom=False)[[(0, 0)]]
    columns = np.arange(40) * 48 // 40, (np.arange(1, 41) * 48 - 1) // 40  # that a cell touches
    first, last = (split.labels(0)[:, touched] > 0 for touched in columns)
    assert torch.equal(batch.region[0, 0] > 0, torch.from_numpy(first | last))
    assert batch.parent is not None and not batch.parent.any()


def test_what_it_overlooks_may_be_thinner_than_a_cell(
    split: PackedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros((3, 3, 10, 10), np.uint8)
    nothing[:, 0] = 255
    np.save(tmp_path / OUT_OF_FOLD / "train.npy", nothing)
    for row, column in ((0, 0), (17, 19), (39, 47)):
        labels = np.zeros((40, 48), np.uint8)
        labels[row, column] = 1
        monkeypatch.setattr(split, "labels", lambda _, labels=labels: labels)
        region = ParentPredictions(split, TREE, "body", 0, CPU).regions[0, 0]
        assert 1 <= region.sum() <= 2, "a column may touch two cells"
        assert region[row // 4, int(column / 4.8)]


def test_predictions_of_other_samples_are_an_error(split: PackedSplit) -> None:
    write_predictions(Path(), "train", 2)
    with pytest.raises(UserError, match="make it again with `dvc repro -f predict_out_of_fold`"):
        samples(split)


def test_missing_predictions_are_named_with_what_makes_them(tmp_path: Path) -> None:
    write_project(tmp_path, **PREDICTED)
    with pytest.raises(SystemExit, match=r"train.npy.*; run `dvc repro predict_out_of_fold` first"):
        train(tmp_path, "body")


def test_rejected_pixels_count_in_the_loss_as_a_child_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_packed(tmp_path, {"train": draw_pairs(2), "val": draw_pairs(1)})
    monkeypatch.chdir(tmp_path)
    machine = MachineParams(devices=1, loader_workers=0)
    task = Task("body", TREE, "body", expert_params("body", **PREDICTED), machine, Path("unused"))
    split = weighted_split(task)
    assert split.leaves.tolist() == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert split.leaf_weights[-1] == split.child_weights[-1] == 1


@pytest.mark.slow
def test_an_expert_learns_on_predicted_regions(tmp_path: Path) -> None:
    write_project(tmp_path, epochs=3, decoder_epochs=0, **PREDICTED)
    for split, count in (("train", 9), ("val", 6)):
        write_predictions(tmp_path, split, count)
    train(tmp_path, "body")
    rows = history(tmp_path, "body")
    assert len(rows) == 3
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [key for key in rows[0] if key.startswith("iou_")] == ["iou_upper", "iou_lower"]


def test_more_folds_than_samples_are_refused(tmp_path: Path) -> None:
    write_project(tmp_path, train=1, regions="predicted")
    with (
        chdir(tmp_path),
        mock.patch.object(sys, "argv", ["predict_out_of_fold"]),
        pytest.raises(SystemExit, match=r"out_of_fold\.folds: is 2, but there are 1 samples"),
    ):
        predict_out_of_fold.main()


@pytest.mark.slow
def test_nobody_predicts_what_it_was_trained_on(tmp_path: Path) -> None:
    write_project(tmp_path, train=8, regions="predicted")
    trained: list[list[int]] = []
    get = ExpertSamples.__getitem__

    def note(self: ExpertSamples, keys: list[tuple[int, int]]) -> object:
        if self.augment:
            trained[-1] += [self.used[index] for _, index in keys]
        return get(self, keys)

    run = predict_out_of_fold.run

    def note_run(task: Task) -> object:
        trained.append([])
        return run(task)

    with (
        chdir(tmp_path),
        mock.patch.object(sys, "argv", ["predict_out_of_fold"]),
        mock.patch.object(torch.cuda, "is_available", return_value=False),
        mock.patch.object(ExpertSamples, "__getitem__", note),
        mock.patch.object(predict_out_of_fold, "run", note_run),
    ):
        predict_out_of_fold.main()
    assert [set(some) for some in trained] == [{1, 3, 5, 7}, {0, 2, 4, 6}]
    for split, count in (("train", 8), ("val", 6)):
        found = np.load(tmp_path / OUT_OF_FOLD / f"{split}.npy")
        assert found.shape == (count, 3, 16, 16)
        np.testing.assert_allclose(found.sum(1, dtype=int), 255, atol=2)
    assert not (tmp_path / "results" / "experts").exists()  # they are nobody's results
    assert len(list((tmp_path / CHECKPOINTS).glob("fold_*/finished"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("former", "new"),
    [
        ('"map_size": 16', '"map_size": 24'),
        ('"swap": []', '"swap": [["upper", "lower"]]'),
        ('"lower": 2', '"lower": 3'),
    ],
)
def test_params_edited_meanwhile_are_not_recorded_for_it(
    former: str, new: str, tmp_path: Path
) -> None:
    """Nor are folds before and after the edit taken for one."""
    write_project(tmp_path, train=4, regions="predicted")
    run = predict_out_of_fold.run

    def edit_and_run(task: Task) -> object:
        trained = run(task)
        text = (tmp_path / "params.yaml").read_text()
        assert former in text or new in text
        (tmp_path / "params.yaml").write_text(text.replace(former, new))
        return trained

    with (
        chdir(tmp_path),
        mock.patch.object(sys, "argv", ["predict_out_of_fold"]),
        mock.patch.object(torch.cuda, "is_available", return_value=False),
        mock.patch.object(predict_out_of_fold, "run", edit_and_run),
        pytest.raises(SystemExit, match=r"out_of_fold: params\.yaml was edited"),
    ):
        predict_out_of_fold.main()
    assert not (tmp_path / OUT_OF_FOLD / "train.npy").exists()
    assert not list((tmp_path / CHECKPOINTS).glob("fold_*/finished"))
