"""Two segmenters beside one another, on the same photographs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from final_model_stage import compare_segmenters
from final_model_stage.torch_segmenter import TorchSegmenter

pytestmark = pytest.mark.slow


def compare(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    command = ["compare_segmenters", "models/segmenter", "models/other", "data", *words]
    monkeypatch.setattr(sys, "argv", command)
    compare_segmenters.main()


def test_a_segmenter_is_as_good_as_its_copy_and_another_one_is_not(
    workplace: Path,
    segmenter: TorchSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    segmenter.save("models/other")
    compare(monkeypatch, "--fast", "both")
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("5 images ")
    assert [line.split()[0] for line in lines] == ["mIoU_0", "mIoU_1", "mIoU_2"]
    assert all(line.endswith(" +0.000 [+0.000, +0.000]") for line in lines)

    for expert in segmenter.experts.values():
        torch.nn.init.zeros_(expert.head.weight)
    segmenter.save("models/other")
    compare(monkeypatch)
    first, second, difference = capsys.readouterr().out.splitlines()[-1].split()[1:4]
    assert first != second
    assert float(difference) == pytest.approx(float(second) - float(first), abs=2e-3)


def test_segmenters_of_different_classes_are_refused(
    workplace: Path, segmenter: TorchSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter.save("models/other")
    settings = Path("models/other/segmenter.json")
    [leaf] = [f'"{leaf.name}"' for leaf in segmenter.tree.leaves if leaf.id == 1]
    settings.write_text(settings.read_text().replace(leaf, '"paw"'))
    with pytest.raises(SystemExit, match="models/other: has another tree than models/segmenter"):
        compare(monkeypatch)
