"""Segment pictures and videos from the command line.

    python -m deploy.predict SOURCE... --out DIR

A SOURCE is a picture, a video, a folder (with all below it), a pattern ('shots/**/*.jpg'), or
`-` for paths on standard input, one a line. Writes DIR/<stem>.png for each picture, an indexed
PNG of leaf ids, DIR/<stem>.mp4 for each video, and DIR/index.jsonl with a line for each source:
its name, its size, the pixels of each class, or the error. See docs/predict.md.

Exits with 0, or with 1 if some sources could not be read (the others are done), or with 2 if
nothing was tried.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from deploy.predict.images import Job, predict_pictures
from deploy.predict.index import Entry, PredictionIndex
from deploy.predict.output_files import PredictionFiles, Wanted
from deploy.predict.sources import find_segmenter, find_sources, is_video
from deploy.predict.videos import predict_video, video_path
from final_model_stage.image_reader import MAX_PIXELS
from final_model_stage.segmenter import Segmenter
from train_stage.precision import Precision


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", module="PIL")  # decode.py refuses what is to be refused
    wanted = Wanted(
        levels=tuple(dict.fromkeys(arguments.level)),
        overlay=arguments.overlay,
        probabilities=arguments.probabilities,
        uncertainty=arguments.uncertainty,
    )
    try:
        sources = find_sources(arguments.sources, arguments.out, sys.stdin)
        folder = arguments.segmenter or find_segmenter()
        load = partial(Segmenter.load, precision=arguments.precision, fast=arguments.fast)
        segmenter = load(folder)
        # Ray's processes have working folders of their own.
        out = arguments.out.absolute() if arguments.ray else arguments.out
        files = PredictionFiles(out, segmenter.tree, wanted)
        index = PredictionIndex(arguments.out)
        jobs = [Job(source, index.name(source)) for source in sources.files]
        _refuse_overwriting(jobs, files)
        todo = [
            job for job in jobs if not (arguments.skip_existing and _is_done(job, files, index))
        ]
        index.forget([job.source for job in todo])
        if arguments.ray:
            from deploy.predict.ray_cluster import predict_on_ray

            entries = predict_on_ray(
                todo,
                partial(load, folder.absolute()),
                files,
                arguments.max_pixels,
                arguments.ray_workers,
            )
        else:
            entries = predict(todo, segmenter, files, arguments.max_pixels)
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error

    failed = 0
    try:
        for entry in tqdm(entries, total=len(todo), unit="file"):
            index.add(entry)
            if "error" in entry:
                failed += 1
                tqdm.write(f"{entry['source']}: {entry['error']}", file=sys.stderr)
    except OSError as error:  # the disk is full, or the folder went away
        raise SystemExit(f"{error}; put it right and go on with --skip-existing") from error
    _report(arguments.out, len(todo) - failed, failed, len(jobs) - len(todo), sources.left_out)
    if failed:
        raise SystemExit(1)


def predict(
    jobs: Sequence[Job], segmenter: Segmenter, files: PredictionFiles, max_pixels: int
) -> Iterator[Entry]:
    """The index's line of each job when its files are written: pictures, then videos."""
    pictures = (job for job in jobs if not is_video(job.source))
    videos = (job for job in jobs if is_video(job.source))
    return chain(
        predict_pictures(pictures, segmenter, files, max_pixels),
        (predict_video(job, segmenter, files.out, max_pixels) for job in videos),
    )


def _outputs(job: Job, files: PredictionFiles) -> list[Path]:
    if is_video(job.source):
        return [video_path(files.out, job.name)]
    return list(files.paths(job.name).values())


def _is_done(job: Job, files: PredictionFiles, index: PredictionIndex) -> bool:
    return index.is_done(job.source) and all(p.exists() for p in _outputs(job, files))


def _refuse_overwriting(jobs: Sequence[Job], files: PredictionFiles) -> None:
    """Raises ValueError that names the sources that results would be written over."""
    sources = {os.path.realpath(job.source) for job in jobs}
    outputs = {os.path.realpath(path) for job in jobs for path in _outputs(job, files)}
    if both := sorted(sources & outputs):
        raise ValueError(
            f"results would be written over {', '.join(both)}; give another --out than {files.out}"
        )


def _report(out: Path, done: int, failed: int, skipped: int, left_out: Counter[str]) -> None:
    words = [f"{done} done"]
    words += [f"{skipped} already there"] if skipped else []
    words += [f"{failed} failed"] if failed else []
    print(f"{out}: {', '.join(words)}")
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(10))
        print(f"left out of the folders, as neither pictures nor videos: {kinds}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="picture, video, folder, pattern, or -")
    add("--out", type=Path, required=True, metavar="DIR", help="where results are written")
    add("--segmenter", type=Path, metavar="FOLDER", help="default: the shipped, or the trained one")
    add("--overlay", action="store_true", help="also the picture with its classes coloured")
    add("--level", type=int, action="append", default=[], metavar="K", help="also maps of level K")
    add("--probabilities", action="store_true", help="also those of all leaves, as .npz")
    add("--uncertainty", action="store_true", help="also a gray picture of it")
    add("--fast", action="store_true", help="each expert looks once: faster, less exact")
    add("--skip-existing", action="store_true", help="go on where a run was broken off")
    add(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse pictures with more, default {MAX_PIXELS:,}: a pixel takes 4 bytes or more",
    )
    add(
        "--precision", choices=("auto", *get_args(Precision)), default="auto", help="of the network"
    )
    add("--ray", action="store_true", help="on a Ray cluster: RAY_ADDRESS, or one made here")
    add("--ray-workers", type=int, metavar="N", help="segmenters, default one for each GPU or CPU")
    return parser


if __name__ == "__main__":
    main()
