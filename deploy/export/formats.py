"""The formats of exported files: how each is written, and how it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from deploy.export.graph import ChainGraph
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.drawing.palette import palette

Run = Callable[[np.ndarray], np.ndarray]
"""Image (H, W, 3) uint8 -> leaf ids (H, W) uint8."""


@dataclass(frozen=True)
class Format:
    file: str
    write: Callable[[ExportedProgram, ClassTree, IO[bytes]], None]
    open: Callable[[Path], Run]


def export(segmenter: Segmenter) -> ExportedProgram:
    """The whole chain as a graph. Raises ValueError for a segmenter with MC-dropout samples."""
    graph = ChainGraph(segmenter)
    example = torch.randint(0, 256, (90, 120, 3), dtype=torch.uint8)
    sides = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    with torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=(sides,))


def write_torch(program: ExportedProgram, tree: ClassTree, file: IO[bytes]) -> None:
    """As torch.export saves it; `classes` and `colours` are extra files."""
    torch.export.save(program, file, extra_files=metadata(tree))


def write_onnx(program: ExportedProgram, tree: ClassTree, file: IO[bytes]) -> None:
    """As ONNX; `classes` and `colours` are in its metadata."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("ONNX needs pip install '.[export]'") from error
    onnx = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["image"],
        output_names=["probabilities", "labels"],
        verbose=False,
    )
    assert onnx is not None
    onnx.model.metadata_props.update(metadata(tree))
    file.write(onnx.model_proto.SerializeToString())


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
        raise ImportError("ONNX needs pip install '.[export]'") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["labels"], {"image": image})[0]


FORMATS = {
    "onnx": Format("segmenter.onnx", write_onnx, open_onnx),
    "torch": Format("segmenter.pt2", write_torch, open_torch),
}
