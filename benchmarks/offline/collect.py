"""Bring trained weights home: `python -m benchmarks.offline.collect WORKSPACES OUT --last`.

For each workspace, its experts' weights in half precision, as tar files of less than 16 MiB, of the
trainings that have ended. With --last also the averages of those that have not, and all logs,
histories and params.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from preprocessing_stage.paths import CHECKPOINTS, EXPERTS, TRAININGS
from train_stage.checkpoint import read_state
from train_stage.weights_file import read_metadata

MAX_BYTES = 15 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspaces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--last", action="store_true")
    arguments = parser.parse_args()
    for workspace in sorted(path for path in arguments.workspaces.iterdir() if path.is_dir()):
        files = {path.name: halved(path) for path in sorted(workspace.glob(f"{EXPERTS}/*"))}
        if arguments.last:
            files |= unfinished(workspace, files)
        write(files, arguments.out / workspace.name)
    if arguments.last:
        with tarfile.open(arguments.out / "logs.tar.gz", "w:gz") as tar:
            for pattern in ("*.log", "*/params.yaml", f"*/{TRAININGS}/*/*"):
                for path in sorted(arguments.workspaces.glob(pattern)):
                    tar.add(path, path.relative_to(arguments.workspaces))


def halved(path: Path) -> bytes:
    """A file of weights in half precision, with what it says of its training."""
    return save(_half(load_file(path)), read_metadata(path))


def unfinished(workspace: Path, finished: dict[str, bytes]) -> dict[str, bytes]:
    """Averages of the trainings whose last epoch is still to come."""
    found = {}
    for file in sorted(workspace.glob(f"{CHECKPOINTS}/*/state.pt")):
        expert, _, _ = file.parent.name.rpartition("-")
        if f"{expert}.safetensors" not in finished and (state := read_state(file)):
            print(f"{workspace.name}: {expert} has {len(state['history'])} epochs")
            found[f"{expert}.unfinished.safetensors"] = save(_half(state["average"]))
    return found


def write(files: dict[str, bytes], prefix: Path) -> None:
    """Tar files of less than MAX_BYTES, and no more of them than it takes."""
    parts: list[dict[str, bytes]] = []
    for name, data in files.items():
        if not parts or sum(map(len, parts[-1].values())) + len(data) > MAX_BYTES:
            parts.append({})
        parts[-1][name] = data
    for number, part in enumerate(parts):
        path = prefix.with_name(f"{prefix.name}.{number}.tar")
        part_path = path.with_name(f"{path.name}.part")
        with tarfile.open(part_path, "w") as tar:
            for name, data in part.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        part_path.replace(path)


def _half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")}
    return {n: (t.half() if t.is_floating_point() else t).contiguous() for n, t in kept.items()}


if __name__ == "__main__":
    main()
