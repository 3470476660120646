"""The formats of exported files: how each is written, and how it is run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from deploy.export.graph import ChainGraph, Networks, export_chain
from final_model_stage.onnx_segmenter import OnnxSegmenter
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.drawing.palette import palette

_NEEDS = "ONNX needs pip install '.[export]'"

Run = Callable[[np.ndarray], np.ndarray]
"""Image (H, W, 3) uint8 -> leaf ids (H, W) uint8."""

Pairs = list[tuple[TorchSegmenter, Run]]
"""What is exported, each beside the segmenter whose labels it has to give."""


@dataclass(frozen=True)
class Format:
    file: str
    encode: Callable[[TorchSegmenter], bytes]
    """The content of the file. Raises ValueError for a segmenter with MC-dropout samples."""
    open: Callable[[Path], Run]


@contextmanager
def new_file(kind: Format, segmenter: TorchSegmenter, out: Path) -> Iterator[Pairs]:
    """The exported segmenter, to be verified within the block; its file is kept after it.

    Raises ValueError if there is a file of this name, whosever it is, before anything is made.
    """
    if (out / kind.file).exists():
        raise ValueError(f"{out / kind.file}: exists; remove it, or name another folder with --out")
    content = kind.encode(segmenter)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / kind.file, "wb") as file:
        file.write(content)
        file.flush()
        yield [(segmenter, kind.open(Path(file.name)))]


@contextmanager
def new_folder(segmenter: TorchSegmenter, source: Path, out: Path) -> Iterator[Pairs]:
    """The same for a segmenter's folder with graphs. source: the segmenter's own folder."""
    try:
        from deploy.export.folder import folder_with_graphs
    except ImportError as error:
        raise ImportError(_NEEDS) from error
    with folder_with_graphs(segmenter, source, out) as folder:
        whole, fast = (OnnxSegmenter.of_folder(folder, fast=fast) for fast in (False, True))
        yield [
            (segmenter, whole),
            (segmenter, lambda image: whole.segment(image, lambda view: None).labels),
            (TorchSegmenter.load(source, "32-true", fast=True), fast),
        ]


def encode_torch(segmenter: TorchSegmenter) -> bytes:
    """As torch.export saves it; `classes` and `colours` are extra files."""
    graph = ChainGraph(segmenter.settings, Networks(segmenter.experts))
    file = BytesIO()
    torch.export.save(export_chain(graph), file, extra_files=metadata(segmenter.tree))
    return file.getvalue()


def encode_onnx(segmenter: TorchSegmenter) -> bytes:
    """As ONNX; `classes` and `colours` are in its metadata."""
    try:
        import onnx_ir

        from deploy.export.onnx_file import chain_model
    except ImportError as error:
        raise ImportError(_NEEDS) from error
    model = chain_model(segmenter.settings, segmenter.experts)
    model.metadata_props.update(metadata(segmenter.tree))
    content: bytes = onnx_ir.to_proto(model).SerializeToString()
    return content


def metadata(tree: ClassTree) -> dict[str, str]:
    """`classes`, leaf id -> name, and `colours`, leaf id -> RGB, as JSON in the order of leaves."""
    colours = palette(tree).tolist()
    return {
        "classes": json.dumps({leaf.id: leaf.name for leaf in tree.leaves}),
        "colours": json.dumps({leaf.id: colours[leaf.id or 0] for leaf in tree.leaves}),
    }


def open_torch(path: Path) -> Run:
    with path.open("rb") as file:
        graph = torch.export.load(file).module()

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            result: np.ndarray = graph(torch.tensor(image))[1].numpy()
            return result

    return run


def open_onnx(path: Path) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(_NEEDS) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["labels"], {"image": image})[0]


FORMATS = {
    "onnx": Format("segmenter.onnx", encode_onnx, open_onnx),
    "torch": Format("segmenter.pt2", encode_torch, open_torch),
}
FOLDER = "folder"
"""The format that is not one file."""
