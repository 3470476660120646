"""Segment images and videos from the command line.

    python -m deploy.predict photo.jpg --out predictions
    python -m deploy.predict holiday/ 'shots/**/*.png' clip.mp4 --out predictions --overlay

A SOURCE is an image, a video, a folder (searched recursively), a pattern, or `-` for paths on
standard input, one per line or ended by NUL. Writes DIR/<stem>.png for each image, a palette PNG of
leaf ids, DIR/<stem>.mp4 for each video, and DIR/index.jsonl with an entry for each source: its
name, its size, the pixels of each class, or the error. See docs/predict.md.

A file in DIR that no earlier run wrote is never replaced. Exits with 0, or with 1 if some sources
could not be read (all others are done) or the disk is full, with 2 if nothing was tried, with 130
after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from deploy.arguments import positive
from deploy.predict import tiles
from deploy.predict.index import PredictionIndex
from deploy.predict.jobs import (
    Job,
    output_names,
    refuse_overwriting,
    segmenter_digest,
    stamp,
    unfinished,
)
from deploy.predict.local import predict
from deploy.predict.output_files import PredictionFiles, Wanted
from deploy.predict.sources import LIST, Sources, find_sources, is_video, read_list
from final_model_stage.chain.find_segmenter import find_segmenter
from final_model_stage.image_reader import MAX_PIXELS
from final_model_stage.segmentation import Segmenter
from preprocessing_stage.dataset.file_lock import file_lock
from preprocessing_stage.dataset.user_error import UserError
from train_stage.precision import Precision

LOCK = ".person-parts-predict.lock"


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", module="PIL")  # image_reader.py checks what they warn of
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no UTF-8
    with ExitStack() as stack:
        try:
            is_new = not arguments.out.exists()
            stack.enter_context(file_lock(arguments.out / LOCK, f"writing to {arguments.out}"))
        except (UserError, OSError) as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from error
        stack.callback(_leave, arguments.out, is_new)
        try:
            failed = _run(arguments)
        except KeyboardInterrupt:
            print("interrupted; resume with --skip-existing", file=sys.stderr)
            raise SystemExit(130) from None
    if failed:
        raise SystemExit(1)


def _leave(out: Path, is_new: bool) -> None:
    """Remove the lock, and a new folder if nothing was written into it."""
    (out / LOCK).unlink(missing_ok=True)
    if is_new:
        with suppress(OSError):
            out.rmdir()


def _run(arguments: argparse.Namespace) -> int:
    """The number of sources that failed. Raises SystemExit if nothing can be tried."""
    try:
        listed = read_list(sys.stdin.buffer) if LIST in arguments.sources else []
        sources = find_sources(arguments.sources, arguments.out, listed)
        folder = find_segmenter(arguments.segmenter)
        load = partial(Segmenter.load, precision=arguments.precision, fast=arguments.fast)
        segmenter = load(folder)
        digest = segmenter_digest(segmenter.settings)
        # Ray's processes have working folders of their own.
        out = arguments.out.absolute() if arguments.ray else arguments.out
        files = PredictionFiles(out, segmenter.tree, _wanted(arguments))
        index = PredictionIndex(out)
        keep = arguments.keep_folders or sources.share_stems()
        jobs = [
            Job(
                path,
                index.name(path, sources.folder_of.get(path) if keep else None),
                arguments.max_pixels,
                tiles.PIXELS if arguments.tiles else None,
            )
            for path in sources.files
        ]
        refuse_overwriting(jobs, files, index)
        todo = unfinished(jobs, files, index, digest) if arguments.skip_existing else jobs
        by_source = {str(job.source): job for job in todo}
        stamps = {source: stamp(job, files, digest) for source, job in by_source.items()}
        _say_what_has_no_effect(jobs, files.wanted)
        if arguments.ray_workers and not arguments.ray:
            print("--ray-workers: has no effect without --ray", file=sys.stderr)
        if arguments.ray:
            from deploy.predict.ray_cluster import predict_on_ray

            load_again = partial(load, folder.absolute())
            entries = predict_on_ray(todo, load_again, files, arguments.ray_workers)
        else:
            entries = predict(todo, segmenter, files)
        # Nothing is predicted before the first entry is asked for, and nothing refused after it.
        index.begin({source: output_names(job, files) for source, job in by_source.items()})
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error

    failed = 0
    try:
        for entry in tqdm(entries, total=len(todo), unit="file"):
            source = entry["source"]
            new: set[str] = set()
            if "error" in entry:
                failed += 1
                tqdm.write(f"{source}: {entry['error']}", file=sys.stderr)
            else:
                new = set(output_names(by_source[source], files))
                for note in entry.get("notes", []):
                    tqdm.write(f"{source}: {note}", file=sys.stderr)
            index.add(entry | stamps[source] | index.files_after(source, stamps[source], new))
        index.end()
    except OSError as error:  # the disk is full, or the folder is gone
        raise SystemExit(f"{error}; fix this and resume with --skip-existing") from error
    _report(arguments.out, len(todo) - failed, failed, len(jobs) - len(todo))
    _report_left_out(sources)
    return failed + len(sources.unreadable)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(
        levels=tuple(dict.fromkeys(arguments.level)),
        overlay=arguments.overlay,
        probabilities=arguments.probabilities,
        uncertainty=arguments.uncertainty,
        cutout=arguments.cutout,
        instances=arguments.instances,
        frames=arguments.frames,
        tiles=arguments.tiles,
        any_turn=arguments.any_turn,
        masks=tuple(dict.fromkeys(arguments.mask)),
    )


def _say_what_has_no_effect(jobs: Sequence[Job], wanted: Wanted) -> None:
    videos = sum(is_video(job.source) for job in jobs)
    for_images = {
        "--level": wanted.levels,
        "--probabilities": wanted.probabilities,
        "--uncertainty": wanted.uncertainty,
        "--tiles": wanted.tiles,
        "--any-turn": wanted.any_turn,
        "--instances": wanted.instances,
    }
    if videos and (given := [option for option, value in for_images.items() if value]):
        print(f"{', '.join(given)}: for images only, not for videos ({videos})", file=sys.stderr)
    if wanted.frames and not videos:
        print("--frames: has no effect, there is no video", file=sys.stderr)


def _report(out: Path, done: int, failed: int, skipped: int) -> None:
    words = [f"{done} done"]
    words += [f"{skipped} skipped as done before"] if skipped else []
    words += [f"{failed} failed"] if failed else []
    print(f"{out}: {', '.join(words)}")


def _report_left_out(sources: Sources) -> None:
    if sources.in_out:
        print(f"left out, as they lie in --out: {sources.in_out} files")
    if sources.left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sources.left_out.most_common(10))
        print(f"left out of the folders, as neither images nor videos: {kinds}")
    if sources.linked:
        some = ", ".join(map(str, sources.linked[:5]))
        print(f"links to {len(sources.linked)} folders were not followed: {some}")
    for line in sources.unreadable:
        print(f"{line}; its files were left out", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="image, video, folder, pattern, or -")
    add("--out", type=Path, required=True, metavar="DIR", help="where results are written")
    add("--segmenter", type=Path, metavar="FOLDER", help="default: the trained or the shipped one")
    add("--overlay", action="store_true", help="also write the image with its classes coloured")
    add("--level", type=int, action="append", default=[], metavar="K", help="also maps of level K")
    add("--probabilities", action="store_true", help="also write those of all leaves, as .npz")
    add("--uncertainty", action="store_true", help="also write it, as a grayscale PNG")
    add("--cutout", action="store_true", help="also the foreground as RGBA, with a soft edge")
    add("--instances", action="store_true", help="also number people who do not touch, with boxes")
    add("--mask", action="append", default=[], metavar="CLASS", help="also 0/255 of a class")
    add("--frames", action="store_true", help="also label maps of each frame of a video")
    add("--keep-folders", action="store_true", help="subfolders of a source folder also in DIR")
    add("--fast", action="store_true", help="one view by each expert: faster, less accurate")
    add("--tiles", action="store_true", help="also in squares: panoramas and large crowds; slow")
    add("--any-turn", action="store_true", help="photographs that lie on their side; four times")
    add("--skip-existing", action="store_true", help="resume an interrupted run")
    add(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse larger images, default {MAX_PIXELS:,}: a pixel takes 4 bytes or more",
    )
    add(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="of the networks, default %(default)s",
    )
    add("--ray", action="store_true", help="on the Ray cluster RAY_ADDRESS, or on a local one")
    add(
        "--ray-workers",
        type=positive,
        metavar="N",
        help="segmenters, default one for each GPU or CPU",
    )
    return parser


if __name__ == "__main__":
    main()
