"""Render the data set that the pipeline runs on as it comes: people with exact part labels.

`python -m preprocessing_stage.render_people` writes data/rendered_people in the layout of
`dataset_folder`. A sample depends on the seed, its split and its index alone: more of them keep the
earlier ones, and processes change nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.metadata import version
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from preprocessing_stage.dataset.atomic_write import atomic_write, replace_folder
from preprocessing_stage.dataset.dataset_folder import SPLITS, write_labels, write_listing
from preprocessing_stage.dataset.file_lock import file_lock
from preprocessing_stage.dataset.user_error import UserError, exits_on_user_error
from preprocessing_stage.drawing.palette import palette
from preprocessing_stage.params import RenderPeopleParams, load_preprocessing_params
from preprocessing_stage.paths import RENDERED_PEOPLE
from preprocessing_stage.rendering.body import body_model
from preprocessing_stage.rendering.parts import PARTS, TREE
from preprocessing_stage.rendering.picture import photograph, render
from preprocessing_stage.rendering.scene import random_scene


def render_sample(seed: int, split: str, index: int, size: int) -> tuple[Image.Image, np.ndarray]:
    """Image (size x size, mode RGB, or L if without colour) and label map (size, size) uint8."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    picture, labels = render(random_scene(rng), size)
    return photograph(picture, rng), labels


def write_sample(
    sample: tuple[str, int], params: RenderPeopleParams, colours: np.ndarray, folder: Path
) -> str:
    """Render the sample (split, index) into `folder`, unless it is there; return its id."""
    split, index = sample
    name = f"{split}_{index:05d}"
    photo = folder / "JPEGImages" / f"{name}.jpg"
    if photo.exists():  # it is written last
        return name
    image, labels = render_sample(params.seed, split, index, params.size)
    write_labels(folder / "gt_masks" / f"{name}.png", labels, colours)
    # Its quality is one more thing that differs between photographs, and depends on the index.
    quality = 60 + (37 * index) % 36
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with atomic_write(photo, "wb") as file:
        file.write(buffer.getvalue())
    return name


def render_people(
    params: RenderPeopleParams, colours: np.ndarray, out: Path, workers: int | None = None
) -> None:
    """Write the data set as the new folder `out`; `colours` is a palette (256, 3) uint8.

    Broken off, it goes on where it was as long as params, code and body model are the same.
    """
    body_model()  # builds anny's cache, once and not in every worker
    unfinished = out.with_name(f"{out.name}.{_fingerprint(params, colours)}.part")
    for stale in set(out.parent.glob(f"{out.name}.*.part")) - {unfinished}:
        shutil.rmtree(stale)
    for folder in ("JPEGImages", "gt_masks"):
        (unfinished / folder).mkdir(parents=True, exist_ok=True)
    write = partial(write_sample, params=params, colours=colours, folder=unfinished)
    ids = {}
    # Not forked: a fork would inherit torch's and Warp's threads halfway through their work.
    try:
        with ProcessPoolExecutor(
            workers or os.cpu_count(), get_context("spawn"), _one_thread
        ) as pool:
            for split, count in zip(SPLITS, (params.train, params.val), strict=True):
                names = pool.map(write, [(split, index) for index in range(count)], chunksize=4)
                ids[split] = list(tqdm(names, f"rendering {split}", count, unit="sample"))
    except BrokenProcessPool as error:
        raise UserError(
            f"{unfinished}: a rendering process was ended, perhaps for want of memory; "
            "run again, what is rendered stays"
        ) from error
    write_listing(unfinished, ids, dict(enumerate(PARTS)))
    replace_folder(unfinished, out)


def _fingerprint(params: RenderPeopleParams, colours: np.ndarray) -> str:
    """Of all that the data set depends on."""
    digest = hashlib.sha256(params.model_dump_json().encode() + colours.tobytes())
    digest.update(version("anny").encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    yield Path(__file__)
    yield from sorted((Path(__file__).parent / "rendering").glob("*.py"))


def _one_thread() -> None:
    torch.set_num_threads(1)


@exits_on_user_error()
def main() -> None:
    params = load_preprocessing_params().render_people
    with file_lock(RENDERED_PEOPLE.with_suffix(".lock"), "rendering people"):
        render_people(params, palette(TREE), RENDERED_PEOPLE)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # none, but --help
    main()
