"""Pack what trainings need on a bare machine:
`python -m benchmarks.offline.pack DATA --out bundle`.

Photographs as AVIF, so that Pascal-Part people fit into 64 MiB; encoder weights in half precision;
wheels of the packages that a machine with PyTorch, timm and TensorBoard lacks. `run.sh` unpacks it.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image

from preprocessing_stage.dataset.dataset_folder import SPLITS, DatasetFolder, read_image
from preprocessing_stage.dataset.user_error import exits_on_user_error
from train_stage.encoder_weights import PACKAGES

QUALITY = 52
"""Of AVIF: 11 kB a photograph of 384 pixels."""
LACKING = [
    *("pydantic", "pydantic_core", "annotated-types", "typing-inspection"),
    *("lightning-fabric", "ruamel.yaml"),
]


@exits_on_user_error()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=DatasetFolder, help="data set folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--val", type=int, default=60, help="validation samples to take along")
    parser.add_argument("--python", default="3.12", help="version over there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pack_samples(arguments.data, arguments.val, arguments.out / "data.tar")
    pack_weights(arguments.out / "weights.tar.xz")
    download_wheels(arguments.python, arguments.out / "wheels")
    files = [path for path in arguments.out.rglob("*") if path.is_file()]
    print(f"{arguments.out}: {sum(path.stat().st_size for path in files) / 2**20:.1f} MiB")


def pack_samples(folder: DatasetFolder, val: int, path: Path) -> None:
    """All training samples and evenly chosen ones of the validation."""
    ids = {split: folder.ids(split) for split in SPLITS}
    count = min(val, len(ids["val"]))
    ids["val"] = [ids["val"][k * len(ids["val"]) // count] for k in range(count)]

    def encode(name: str) -> dict[str, bytes]:
        photograph, labels = folder.image_path(name), folder.label_path(name)
        image = io.BytesIO()
        Image.fromarray(read_image(photograph)).save(image, "AVIF", quality=QUALITY)
        return {
            f"JPEGImages/{name}.avif": image.getvalue(),
            f"gt_masks/{labels.name}": labels.read_bytes(),
        }

    with tarfile.open(path, "w") as tar, ThreadPoolExecutor() as pool:
        for files in pool.map(encode, [name for some in ids.values() for name in some]):
            for name, data in files.items():
                _add(tar, name, data)
        for split, some in ids.items():
            _add(tar, f"{split}_id.txt", "".join(f"{name}\n" for name in some).encode())
        _add(tar, "classes.txt", (folder.path / "classes.txt").read_bytes())


def pack_weights(path: Path) -> None:
    """Modules of the names that `encoder_weights: package` looks for."""
    with tarfile.open(path, "w:xz") as tar:
        for module, file_class in PACKAGES.values():
            try:
                source = getattr(import_module(module), file_class).get_model_file_path()
            except ModuleNotFoundError:
                continue
            tensors = torch.load(source, map_location="cpu", weights_only=True)
            halves = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
            classifier = list(halves)[-2:]  # needed by nobody, but counted
            halves |= {name: torch.zeros_like(halves[name]) for name in classifier}
            weights = io.BytesIO()
            torch.save(halves, weights)
            _add(tar, f"{module}/weights.pth", weights.getvalue())
            code = (
                "from pathlib import Path\n\n\n"
                f"class {file_class}:\n"
                "    @staticmethod\n"
                "    def get_model_file_path():\n"
                '        return str(Path(__file__).with_name("weights.pth"))\n'
            )
            _add(tar, f"{module}/__init__.py", code.encode())


def download_wheels(python: str, folder: Path) -> None:
    """Of this environment's versions, for x86-64 Linux."""
    wanted = [f"{name}=={version(name)}" for name in LACKING]
    platforms = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
    command: Sequence[str] = [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"),
        *("--python-version", python, "--implementation", "cp", "-d", str(folder)),
        *(f"--platform={platform}" for platform in platforms),
        *wanted,
    ]
    subprocess.run(command, check=True)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    main()
