"""A folder to work in for the programs that show a segmenter's results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawings import SECTION, TREE, bands, photograph
from PIL import Image
from tiny_network import TINY_NETWORK

from final_model_stage.chain.settings import ExpertSettings, Settings
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.dataset_folder import write_labels
from preprocessing_stage.drawing.palette import palette
from train_stage.model import Expert
from train_stage.model_params import ModelParams

PARAMS = f"""
tree: {SECTION}
swap: []
data: {{folder: data, longest_side: 48, near_gray_chroma: 12, description: drawings, licence: none}}
render_people: {{seed: 0, train: 2, val: 1, size: 32}}
final:
  mode: hard
  average_ancestors: true
  tta_views: false
  tta_flip: false
  closer_view_max_area: 0.7
  grid_stride: 1
  mc_dropout_samples: 1
  precision: 32-true
  seed: 3
  bootstrap: 100
  examples: 3
"""


@pytest.fixture
def segmenter() -> TorchSegmenter:
    torch.manual_seed(0)
    model = ModelParams(**TINY_NETWORK | {"base_channels": 4})
    settings = ExpertSettings(input_size=32, box_margin=0.1, model=model)
    return TorchSegmenter(
        Settings(
            tree=SECTION,
            longest_side=48,
            mode="hard",
            mc_dropout_samples=1,
            tta_views=False,
            tta_flip=False,
            seed=0,
            experts={name: settings for name in TREE.experts},
        ),
        {name: Expert(model, TREE.leaves_of_children(name)) for name in TREE.experts},
        precision="32-true",
        device="cpu",
    )


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: TorchSegmenter) -> Path:
    """A folder to work in, with params.yaml, five validation images and models/segmenter."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    segmenter.save("models/segmenter")
    for name in ("JPEGImages", "gt_masks"):
        Path("data", name).mkdir(parents=True)
    ids = [f"val_{i}" for i in range(5)]
    for i, sample in enumerate([*ids, "train_0"]):
        Image.fromarray(photograph(i)).save(f"data/JPEGImages/{sample}.png")
        write_labels(Path(f"data/gt_masks/{sample}.png"), bands(), palette(TREE))
    Path("data/train_id.txt").write_text("train_0\n")
    Path("data/val_id.txt").write_text("\n".join(ids))
    Path("data/classes.txt").write_text("".join(f"{n.id}: {n.name}\n" for n in TREE.leaves))
    return tmp_path
