"""Two trees, and segmenters of random weights for them."""

import numpy as np
import torch
from torch import nn

from final_model_stage.segmenter import Segmenter
from final_model_stage.settings import ExpertSettings, Settings
from preprocessing_stage.class_tree import ClassTree
from train_stage.model import Expert
from train_stage.params import ModelParams

PEOPLE = {
    "person": {
        "background": 0,
        "body": {"upper": {"hand": 1, "head": 4}, "lower": {"foot": 3, "knee": 5}},
    }
}
DEEP = {
    "scene": {
        "nothing": 0,
        "thing": {
            "tail": 9,
            "animal": {
                "front": {"nose": 2, "paw": {"left": 7, "right": 30}},
                "back": {"leg": 4, "fin": 5},
            },
        },
    }
}
TREES = [ClassTree(PEOPLE), ClassTree(DEEP)]
MODEL = ModelParams(
    encoder="unet",
    base_channels=8,
    max_channels=16,
    depth=2,
    stem_stride=1,
    initial_pool=1,
    norm="layer",
    dropout=0.5,
)


def make_segmenter(tree=TREES[0], longest_side=32, mode="hard", passes=1, model=MODEL, **settings):
    torch.manual_seed(0)
    experts = {name: Expert(model, len(tree.leaves_of(name))) for name in tree.experts}
    for expert in experts.values():  # so that every child gets some pixels of a random image
        nn.init.normal_(expert.head.weight)
        nn.init.zeros_(expert.head.bias)
    one = ExpertSettings(input_size=16, box_margin=0.1, model=model)
    config = Settings(
        tree=tree.to_dict(),
        longest_side=longest_side,
        mode=mode,
        passes=passes,
        seed=0,
        experts=dict.fromkeys(tree.experts, one),
        **{"second_look": False, "mirror": False} | settings,
    )
    return Segmenter(config, experts, precision="32-true", device="cpu")


def random_image(seed=0, shape=(24, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def random_labels(tree, seed, shape=(9, 7)):
    ids = np.array([leaf.id for leaf in tree.leaves], np.uint8)
    return np.random.default_rng(seed).choice(ids, shape)
