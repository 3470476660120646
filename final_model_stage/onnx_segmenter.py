"""A segmenter without PyTorch: ONNX Runtime runs a graph that was recorded of the chain.

The graph lies beside `segmenter.json`, compressed and without weights, which come from the
experts' safetensors files. `python -m deploy.export --format folder` records it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from final_model_stage.chain.settings import Settings, read_settings
from final_model_stage.segmentation import SeenView, Segmentation, Segmenter, Watcher
from train_stage.precision import Precision

WATCHED_GRAPH = "views.onnx.gz"
"""The graph that also gives what each expert sees; it takes longer to open."""
PARTS = ("used", "crop", "mask", "probabilities")
"""What it gives of each view."""
MAX_GRAPH_BYTES = 2**26
"""Of an unpacked graph; those of this project have some 2 MB."""


def prefers_onnx(folder: Path, precision: Precision, fast: bool, device: str | None) -> bool:
    """Whether ONNX Runtime is to run the segmenter in `folder` here.

    Raises OSError or ValueError for a folder whose `segmenter.json` is none, ImportError where
    neither can.
    """
    settings = _settings(folder, fast)
    has_torch = find_spec("torch") is not None
    graph = _graph_of(settings)
    has_graph = graph is not None and (folder / graph).is_file()
    is_able = has_graph and find_spec("onnxruntime") is not None
    if not has_torch and precision == "bf16-mixed":
        raise ImportError(f"precision {precision} needs PyTorch: pip install -r requirements.txt")
    if not has_torch and not is_able:
        raise ImportError(
            f"{folder}: holds no graph that ONNX Runtime could run, and PyTorch is not installed: "
            "pip install -r requirements.txt"
        )
    if not is_able or precision == "bf16-mixed" or device not in (None, "cpu"):
        return False
    if not has_torch or device == "cpu" or not _may_have_gpu():
        return True
    import torch  # takes seconds

    return not torch.cuda.is_available()


def _may_have_gpu() -> bool:
    return any(Path(gpu).exists() for gpu in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


class OnnxSegmenter(Segmenter):
    """A segmenter in ONNX Runtime, on the processor's cores."""

    def __init__(
        self,
        settings: Settings,
        graph: bytes,
        weights: Mapping[str, np.ndarray],
        watched: Path | None = None,
    ) -> None:
        """graph: ONNX. weights: `<expert>.<tensor>` -> float32, the initializers that it lacks.
        watched: the packed file of a graph that also gives what each expert sees."""
        super().__init__(settings)
        self._graph, self._weights, self._watched = graph, weights, watched
        self._session = cache(self._open)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._session = cache(self._open)

    @staticmethod
    def of_folder(folder: Path | str, *, fast: bool = False) -> OnnxSegmenter:
        """The segmenter in a folder. Raises OSError, or ValueError if its files do not fit."""
        folder = Path(folder)
        settings = _settings(folder, fast)
        file = _graph_of(settings)
        if file is None:
            raise ValueError(
                f"{folder}: holds no graph of its settings; `python -m deploy.export {folder} "
                "--format folder --out DIR` writes one that does"
            )
        weights: dict[str, np.ndarray] = {}
        for name in settings.class_tree.experts:
            path = folder / f"{name}.safetensors"
            tensors = _read_weights(path, settings.sha256.get(name))
            weights |= {f"{name}.{key}": values for key, values in tensors.items()}
        watched = _graph_of(settings, watched=True)
        return OnnxSegmenter(
            settings, _unpack(folder / file), weights, folder / watched if watched else None
        )

    def _label_maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(images) == 1:  # on all cores
            return self._run(images[0], ["labels"], threads=_cores())
        session = self._session(1)  # each image on a core of its own
        with ThreadPoolExecutor(_cores()) as pool:
            return list(
                pool.map(lambda image: session.run(["labels"], {"image": image})[0], images)
            )

    def _segment(self, image: np.ndarray, watch: Watcher | None) -> Segmentation:
        if watch:
            return self._segment_watched(image, watch)
        labels, shares = self._run(image, ["labels", "probabilities"], threads=_cores())
        return Segmentation(labels, shares, self.tree)

    def _segment_watched(self, image: np.ndarray, watch: Watcher) -> Segmentation:
        session = self._session(_cores(), watched=True)
        views = json.loads(session.get_modelmeta().custom_metadata_map["views"])
        names = [f"view{k}.{part}" for k in range(len(views)) for part in PARTS]
        labels, shares, *seen = session.run(["labels", "probabilities", *names], {"image": image})
        for number, expert in enumerate(views):
            used, *shown = seen[number * len(PARTS) : (number + 1) * len(PARTS)]
            if used:
                watch(SeenView(expert, *shown))
        return Segmentation(labels, shares, self.tree)

    def _run(self, image: np.ndarray, outputs: list[str], *, threads: int) -> list[np.ndarray]:
        result: list[np.ndarray] = self._session(threads).run(outputs, {"image": image})
        return result

    def _open(self, threads: int, *, watched: bool = False) -> Any:
        """threads: that an image is predicted with. Raises ValueError for a damaged graph."""
        import onnxruntime

        graph = self._graph
        if watched:
            if self._watched is None:
                raise ValueError("the segmenter's folder holds no graph that shows its views")
            graph = _unpack(self._watched)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        used = {name: v for name, v in self._weights.items() if _has_tensor(graph, name)}
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in used.values()]
        options.add_external_initializers(list(used), values)
        try:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a class for each kind of damage
            raise ValueError(
                f"the graph is damaged or does not fit the experts: {error}; get the folder again"
            ) from error


def _settings(folder: Path, fast: bool) -> Settings:
    settings = read_settings(folder / "segmenter.json")
    return settings.fast if fast else settings


def _graph_of(settings: Settings, *, watched: bool = False) -> str | None:
    """The file of the graph that was recorded for these settings."""
    fit = (file for file, of in settings.graphs.items() if of == settings.digest)
    return next((file for file in fit if (file == WATCHED_GRAPH) == watched), None)


def _unpack(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_GRAPH_BYTES + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: is damaged: {error}; get the folder again") from error
    if len(content) > MAX_GRAPH_BYTES:
        raise ValueError(f"{path}: has more than {MAX_GRAPH_BYTES} bytes, is no graph of a chain")
    return content


def _read_weights(path: Path, digest: str | None) -> dict[str, np.ndarray]:
    """Name -> float32 of a safetensors file. digest: SHA-256 that it must have."""
    data = path.read_bytes()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path}: damaged since it was saved; get the folder again")
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path}: is damaged or no safetensors file: {error}") from error
    return {
        name: values.astype(np.float32)
        for name, values in tensors.items()
        if np.issubdtype(values.dtype, np.floating)  # the others count training steps
    }


def _has_tensor(graph: bytes, name: str) -> bool:
    """Whether a serialized model holds an initializer: where a decoder ends early, not all weights
    of its encoder are in use. In a TensorProto the name is field 8, after its length."""
    length = len(name)
    varint = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return b"\x42" + varint + name.encode() in graph


def _cores() -> int:
    """That this process may use, as PyTorch takes it: OMP_NUM_THREADS, which Ray sets, or all."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
