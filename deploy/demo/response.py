"""What the page shows of one photograph, as values that JSON can hold.

Pictures are addresses that hold the picture itself. Figures of every pixel travel as planes of 8
bits, three to a PNG, so that the page can tell the class and its probability at any point without
asking again.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from deploy.demo.trace import Look, Step, segment_in_steps
from final_model_stage.reporting.templates import css
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.shrink import shrink
from preprocessing_stage.drawing.palette import class_colours
from train_stage.model import MEAN

SHOWN_SIDE = 800
"""Pixels of the photograph's longest side on the page."""
STEP_SIDE = 320
"""The same of the photograph beside each expert."""

_PAPER = 238
_GRAY = np.array([0.299, 0.587, 0.114])


def answer(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """All that the page shows of an RGB image (H, W, 3) uint8."""
    tree = segmenter.tree
    image = shrink(image, SHOWN_SIDE)
    result, steps = segment_in_steps(segmenter, image)
    indices = tree.leaf_of_id(tree.root.name)[result.labels]
    shares = np.concatenate([result.uncertainty[None], result.leaf_probabilities])
    planes = np.concatenate([indices[None], (shares * 255).round().astype(np.uint8)])
    return {
        "width": image.shape[1],
        "height": image.shape[0],
        "photograph": jpeg(image),
        "planes": packed(planes),
        "leaves": [leaf.name for leaf in tree.leaves],
        "levels": levels(tree),
        "steps": [described(step, image, tree) for step in steps],
    }


def levels(tree: ClassTree) -> list[list[dict[str, Any]]]:
    """For each level its classes, the background last: name, colour and places of its leaves."""
    colours = class_colours(tree)
    background = [leaf for leaf in tree.leaves if leaf.id == BACKGROUND]
    return [
        [
            {
                "name": node.name,
                "colour": None if node.id == BACKGROUND else css(colours[node.name]),
                "leaves": tree.rows(node.name),
            }
            for node in [*tree.level(k), *background]
        ]
        for k in range(tree.depth)
    ]


def described(step: Step, image: np.ndarray, tree: ClassTree) -> dict[str, Any]:
    """image: (H, W, 3) uint8, the photograph at the size of the step's region."""
    colours = class_colours(tree)
    children = [
        {
            "name": child.name,
            "colour": "#ffffff" if child.id == BACKGROUND else css(colours[child.name]),
        }
        for child in tree[step.expert].children
    ]
    handed = np.where(step.region[..., None], image, _PAPER).astype(np.uint8)
    return {
        "expert": step.expert,
        "children": children,
        "share": float(step.region.mean()),
        "handed": jpeg(shrink(handed, STEP_SIDE)),
        "looks": [
            {
                "input": jpeg(seen(look)),
                "answer": jpeg(answered(look, [child["colour"] for child in children])),
                "shares": shares(look),
            }
            for look in step.looks
        ],
    }


def seen(look: Look) -> np.ndarray:
    """The expert's input, (S, S, 3) uint8: what is zeroed for it is the mean colour."""
    mean = np.round(np.array(MEAN) * 255)
    return np.where(look.region[..., None], look.image, mean).astype(np.uint8)


def answered(look: Look, colours: Sequence[str]) -> np.ndarray:
    """Colours of the children, mixed by probability, over the gray input; (S, S, 3) uint8."""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    mixed = np.einsum("kyx,kc->yxc", look.probabilities, table)
    covered = 0.3 * (look.image @ _GRAY)[..., None] + 0.7 * mixed
    return np.where(look.region[..., None], covered, _PAPER).round().clip(0, 255).astype(np.uint8)


def shares(look: Look) -> list[float]:
    """Of the look's region, the share that each child claims."""
    claimed = look.probabilities.argmax(0)[look.region]
    counts = np.bincount(claimed, minlength=len(look.probabilities))
    return (counts / max(1, counts.sum())).tolist()


def packed(planes: np.ndarray) -> list[str]:
    """Planes (N, H, W) uint8 as ceil(N / 3) RGB pictures without loss."""
    padding = -len(planes) % 3
    full = np.pad(planes, ((0, padding), (0, 0), (0, 0)))
    pictures = full.reshape(-1, 3, *planes.shape[1:]).transpose(0, 2, 3, 1)
    return [address("png", picture, compress_level=3) for picture in pictures]


def jpeg(image: np.ndarray) -> str:
    return address("jpeg", image, quality=88)


def address(kind: str, image: np.ndarray, **how: Any) -> str:
    """An RGB image (H, W, 3) uint8 as an address that holds it."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind, **how)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
