"""The data set of a bundle as a folder: `python -m benchmarks.offline.unpack DATA.TAR FOLDER`."""

from __future__ import annotations

import argparse
import tarfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tar", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with tarfile.open(arguments.tar) as tar:
        tar.extractall(arguments.folder, filter="data")
    with ProcessPoolExecutor() as pool:
        list(pool.map(to_png, sorted(arguments.folder.glob("JPEGImages/*.avif")), chunksize=16))


def to_png(path: Path) -> None:
    """A photograph as a data set folder may hold it."""
    with Image.open(path) as image:
        image.save(path.with_suffix(".png"), compress_level=0)
    path.unlink()


if __name__ == "__main__":
    main()
