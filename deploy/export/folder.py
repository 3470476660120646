"""A segmenter's folder with graphs beside its weights, so that ONNX Runtime can predict with it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.export.onnx_file import chain_model, without_weights
from final_model_stage.chain.files import SETTINGS
from final_model_stage.onnx_segmenter import WATCHED_GRAPH
from final_model_stage.torch_segmenter import TorchSegmenter
from preprocessing_stage.dataset.atomic_write import atomic_write, write_json

GRAPH, FAST_GRAPH = "chain.onnx.gz", "fast.onnx.gz"


@contextmanager
def folder_with_graphs(segmenter: TorchSegmenter, source: Path, out: Path) -> Iterator[Path]:
    """A folder for the block to verify; `out` is written after it, `source` itself or a new one.

    Raises ValueError for MC-dropout samples, or if `out` is another folder with files.
    """
    is_source = out.exists() and out.samefile(source)
    if not is_source and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: exists and is not empty; name a new folder with --out")
    values = json.loads((source / SETTINGS).read_bytes())
    settings = segmenter.settings
    chosen = {GRAPH: settings, WATCHED_GRAPH: settings}
    if settings.digest != settings.fast.digest:
        chosen[FAST_GRAPH] = settings.fast
    with TemporaryDirectory() as made:
        folder = Path(made)
        for path in source.iterdir():
            if path.is_file() and path.name not in (SETTINGS, GRAPH, WATCHED_GRAPH, FAST_GRAPH):
                shutil.copyfile(path, folder / path.name)
        models = {
            of.digest: chain_model(of, segmenter.experts, watched=of is settings)
            for of in (settings.fast, settings)  # the watched one, where they are the same
        }
        for file, of in chosen.items():
            content = without_weights(
                models[of.digest], segmenter.experts, watched=file == WATCHED_GRAPH
            )
            (folder / file).write_bytes(gzip.compress(content, mtime=0))
        graphs = {file: of.digest for file, of in chosen.items()}
        write_json(folder / SETTINGS, values | {"graphs": graphs})
        yield folder
        out.mkdir(parents=True, exist_ok=True)
        # The file that names the graphs last: what it names is there.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == SETTINGS):
            if not is_source or path.name in (SETTINGS, *chosen):
                with atomic_write(out / path.name, "wb") as file_:
                    file_.write(path.read_bytes())
