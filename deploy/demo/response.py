"""What the page shows for an image, as values that JSON can hold.

Images are data URLs. Values of every pixel travel as planes of 8 bits, three to a PNG, so that the
page knows the class and its probability at any point without another request.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from deploy.demo.trace import ExpertTrace, TracedView, segment_with_trace
from final_model_stage.reporting.templates import css
from final_model_stage.segmentation import Segmentation, Segmenter
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.colours import LUMA
from preprocessing_stage.dataset.shrink import nearest, shrink
from preprocessing_stage.drawing.palette import class_colours
from train_stage.colour_statistics import MEAN

SHOWN_SIDE = 800
"""Pixels of the photograph's longest side on the page."""
REGION_SIDE = 320
"""The same of the region beside each expert."""

_PAPER = 238
REJECTED = {"name": "none of these", "colour": "#8a8a8a"}
"""What an expert that rejects sends back to the leaves of other nodes."""


def response(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """All that the page shows for an RGB image (H, W, 3) uint8.

    The image itself is segmented; only what is shown is scaled down.
    """
    result, traces = segment_with_trace(segmenter, image)
    shown = shrink(image, SHOWN_SIDE)
    return {
        "width": shown.shape[1],
        "height": shown.shape[0],
        "photograph": jpeg(shown),
        "planes": packed(planes(result, shown.shape[:2])),
        "leaves": [*segmenter.tree.leaf_names.values()],
        "ids": [*segmenter.tree.leaf_names],
        "levels": levels(segmenter.tree),
        "experts": [expert(trace, shown, segmenter.tree) for trace in traces],
    }


def planes(result: Segmentation, size: tuple[int, int]) -> np.ndarray:
    """(2 + leaves, *size) uint8: index of the leaf, uncertainty, probability of each leaf.

    Labels are scaled by nearest neighbour, so each is one that the segmenter gave; the others,
    in 1/255, are scaled bilinearly.
    """
    indices = result.tree.leaf_of_id(result.tree.root.name)[nearest(result.labels, size)]
    values = np.concatenate([result.uncertainty[None], result.leaf_probabilities])
    if values.shape[1:] != size:
        values = np.stack([bilinear(plane, size) for plane in values])
    return np.concatenate([indices[None], (values * 255).round().astype(np.uint8)])


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32, scaled to `size`, with 0 to 1 kept."""
    image = Image.fromarray(values)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).clip(0, 1)


def levels(tree: ClassTree) -> list[list[dict[str, Any]]]:
    """The classes of each level, background last: name, colour and indices of their leaves."""
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


def expert(trace: ExpertTrace, shown: np.ndarray, tree: ClassTree) -> dict[str, Any]:
    """An expert's region and views. shown: (h, w, 3) uint8, the photograph on the page."""
    colours = class_colours(tree)
    children = [
        {
            "name": child.name,
            "colour": "#ffffff" if child.id == BACKGROUND else css(colours[child.name]),
        }
        for child in tree[trace.expert].children
    ]
    if any(len(view.probabilities) > len(children) for view in trace.views):
        children.append(REJECTED)
    mask = nearest(trace.region, shown.shape[:2])
    region = np.where(mask[..., None], shown, _PAPER).astype(np.uint8)
    return {
        "expert": trace.expert,
        "children": children,
        "region": jpeg(shrink(region, REGION_SIDE)),
        "share": float(trace.region.mean()),
        "views": [
            {
                "input": jpeg(input_image(view)),
                "prediction": jpeg(coloured(view, [child["colour"] for child in children])),
                "shares": shares(view),
            }
            for view in trace.views
        ],
    }


def input_image(view: TracedView) -> np.ndarray:
    """The expert's input, (S, S, 3) uint8: zeroed pixels have the mean colour."""
    mean = np.round(np.array(MEAN) * 255)
    return np.where(view.mask[..., None], view.crop, mean).astype(np.uint8)


def coloured(view: TracedView, colours: Sequence[str]) -> np.ndarray:
    """Colours of the children, mixed by probability, over the gray input; (S, S, 3) uint8."""
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours])
    mixed = np.einsum("kyx,kc->yxc", view.probabilities, table)
    blended = 0.3 * (view.crop @ LUMA)[..., None] + 0.7 * mixed
    return np.where(view.mask[..., None], blended, _PAPER).round().clip(0, 255).astype(np.uint8)


def shares(view: TracedView) -> list[float]:
    """Share of the view's mask for which each child, or none of them, is the most probable."""
    predicted = view.probabilities.argmax(0)[view.mask]
    counts = np.bincount(predicted, minlength=len(view.probabilities))
    result: list[float] = (counts / max(1, counts.sum())).tolist()
    return result


def packed(planes: np.ndarray) -> list[str]:
    """Planes (N, H, W) uint8 as ceil(N / 3) lossless RGB images."""
    padding = -len(planes) % 3
    full = np.pad(planes, ((0, padding), (0, 0), (0, 0)))
    images = full.reshape(-1, 3, *planes.shape[1:]).transpose(0, 2, 3, 1)
    return [data_url("png", image, compress_level=3) for image in images]


def jpeg(image: np.ndarray) -> str:
    return data_url("jpeg", image, quality=88)


def data_url(kind: str, image: np.ndarray, **options: Any) -> str:
    """An RGB image (H, W, 3) uint8 as a data URL."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind, **options)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}"
