"""Export a segmenter as one file that runs without this project.

    python -m deploy.export SEGMENTER --out DIR [--format onnx|torch] [--images FILE...]

Writes DIR/segmenter.onnx, or DIR/segmenter.pt2 for torch.export: an image (H, W, 3) uint8 of any
size in, `probabilities` (leaves, H, W) float32 and `labels` (H, W) uint8 leaf ids out. Before the
file gets its name it is run on real images (--images, else some of the validation split): 99.9 %
of all pixels must have the labels that the segmenter gives them in 32 bits. See docs/export.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from deploy.export.graph import ChainGraph
from deploy.predict.sources import find_sources, is_video
from final_model_stage.image_reader import DecodeError, decode_picture
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.params import load_params

MIN_AGREEMENT = 0.999
"""Share of all pixels of the images that must have the same label."""

CHECKED = 20
"""Images of the validation split, if none are given."""

FILES = {"onnx": "segmenter.onnx", "torch": "segmenter.pt2"}

Run = Callable[[np.ndarray], np.ndarray]
"""Image (H, W, 3) uint8 -> leaf ids (H, W) uint8."""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    path = arguments.out / FILES[arguments.format]
    write, open_run = (
        (write_onnx, open_onnx) if arguments.format == "onnx" else (write_torch, open_torch)
    )
    try:
        paths = find_images(arguments.images, arguments.out)
        segmenter = Segmenter.load(arguments.segmenter, "32-true")
        program = export(segmenter)
        arguments.out.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            write(program, segmenter.tree, file)
            file.flush()
            run = open_run(Path(file.name))
            agreement = check(segmenter, run, paths)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print(f"{path}: {100 * agreement:.3f} % of the pixels of {len(paths)} images as the segmenter")
    if arguments.latency:
        print(f"median milliseconds an image: {latency(segmenter, run, paths)}")


def export(segmenter: Segmenter) -> ExportedProgram:
    """The whole chain as a graph. Raises ValueError for a segmenter of stochastic passes."""
    graph = ChainGraph(segmenter)
    example = torch.randint(0, 256, (90, 120, 3), dtype=torch.uint8)
    sides = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    with torch.no_grad():
        return torch.export.export(graph, (example,), dynamic_shapes=(sides,))


def write_torch(program: ExportedProgram, tree: ClassTree, file: IO[bytes]) -> None:
    """As torch.export saves it; `classes` and `colours` are extra files."""
    torch.export.save(program, file, extra_files=about(tree))


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
    onnx.model.metadata_props.update(about(tree))
    file.write(onnx.model_proto.SerializeToString())


def about(tree: ClassTree) -> dict[str, str]:
    """What goes with a graph, as JSON: leaf id -> name, leaf id -> RGB; in the order of leaves."""
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
            return graph(torch.tensor(image))[1].numpy()

    return run


def open_onnx(path: Path) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX needs pip install '.[export]'") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["labels"], {"image": image})[0]


def find_images(given: Sequence[str], out: Path) -> list[Path]:
    """The images that are given, or some of the validation split. Raises ValueError if none."""
    if given:
        files = find_sources(given, out, ()).files
        return [file for file in files if not is_video(file)]
    folder = DatasetFolder(load_params().data.folder)
    try:
        ids = folder.ids("val")
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: no such file; give images with --images") from error
    order = np.random.default_rng(0).permutation(len(ids))[:CHECKED]
    return [path for i in order if (path := folder.image_path(ids[i])) is not None]


def check(segmenter: Segmenter, run: Run, paths: Sequence[Path]) -> float:
    """Share of all pixels that get the same label. Raises ValueError if it is too small."""
    if not paths:
        raise ValueError("no image to check the export on; give some with --images")
    same = pixels = 0
    worst = 1.0, paths[0]
    for path in paths:
        image = _read(path)
        equal = run(image) == segmenter(image)
        same, pixels = same + int(equal.sum()), pixels + equal.size
        worst = min(worst, (float(equal.mean()), path))
    if same / pixels < MIN_AGREEMENT:
        raise ValueError(
            f"only {100 * same / pixels:.3f} % of the pixels have the segmenter's label, "
            f"{100 * worst[0]:.1f} % in {worst[1]}: not exported"
        )
    return same / pixels


def latency(segmenter: Segmenter, run: Run, paths: Sequence[Path]) -> str:
    """Median milliseconds an image takes in PyTorch and in the exported file."""
    images = [_read(path) for path in paths[:CHECKED]]
    medians = {}
    for name, function in (("PyTorch", segmenter), ("exported", run)):
        function(images[0])  # the first run sets up
        times = []
        for image in images:
            start = time.perf_counter()
            function(image)
            times.append(time.perf_counter() - start)
        medians[name] = 1000 * statistics.median(times)
    return ", ".join(f"{name} {value:.0f}" for name, value in medians.items())


def _read(path: Path) -> np.ndarray:
    try:
        return decode_picture(path).image
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("segmenter", type=Path, metavar="SEGMENTER", help="folder with segmenter.json")
    add("--out", type=Path, required=True, metavar="DIR")
    add("--format", choices=tuple(FILES), default="onnx")
    add("--images", nargs="+", default=[], metavar="FILE", help="or folders, to check it on")
    add("--latency", action="store_true", help="also measure it beside PyTorch's, on this machine")
    return parser


if __name__ == "__main__":
    main()
