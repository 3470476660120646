"""Export a segmenter for other runtimes.

    python -m deploy.export pretrained/default --out exported
    python -m deploy.export models/segmenter --out exported --format torch --images photos
    python -m deploy.export models/segmenter --out light --format folder

Writes DIR/segmenter.onnx, or DIR/segmenter.pt2 for torch.export, or with `--format folder` the
segmenter's folder with graphs for ONNX Runtime, with which this project predicts without PyTorch.
Input of the files: an image (H, W, 3) uint8 of any size. Outputs: `probabilities` (leaves, H, W)
float32 and `labels` (H, W) uint8 leaf ids. What is written is kept only if it, and each graph of a
folder, gives the segmenter's labels for 99.9 % of the pixels of some images: those of --images,
else of the validation split, else drawn ones. See docs/export.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from preprocessing_stage.dataset.user_error import exits_without_pytorch

with exits_without_pytorch():
    from deploy.export.formats import FOLDER, FORMATS, new_file, new_folder
    from deploy.export.verify import draw_images, find_photographs, latency, verify
    from final_model_stage.torch_segmenter import TorchSegmenter


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    try:
        photographs = find_photographs(arguments.images, arguments.out)
        images = photographs or draw_images()
        segmenter = TorchSegmenter.load(arguments.segmenter, "32-true")
        if arguments.format == FOLDER:
            path, new = arguments.out, new_folder(segmenter, arguments.segmenter, arguments.out)
        else:
            kind = FORMATS[arguments.format]
            path, new = arguments.out / kind.file, new_file(kind, segmenter, arguments.out)
        with new as pairs:
            agreement, *_ = [verify(of, run, images) for of, run in pairs]
    except (OSError, ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print(
        f"{path}: the segmenter's labels for {100 * agreement.share:.3f} % of the pixels of "
        f"{len(images)} {'images' if photographs else 'drawn scenes'}"
    )
    if not photographs:
        print("no photographs were at hand to verify it on; name some with --images")
    if agreement.absent:
        print(f"not verified, since no pixel has this class: {', '.join(agreement.absent)}")
    if arguments.latency:
        medians = latency(*pairs[0], images)
        words = ", ".join(f"{name} {value:.0f}" for name, value in medians.items())
        print(f"median milliseconds per image: {words}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("segmenter", type=Path, metavar="SEGMENTER", help="folder with segmenter.json")
    add("--out", type=Path, required=True, metavar="DIR", help="where the file is written")
    add("--format", choices=(*FORMATS, FOLDER), default="onnx", help="default %(default)s")
    add("--images", nargs="+", default=[], metavar="FILE", help="or folders, to verify it on")
    add("--latency", action="store_true", help="also measure it, next to PyTorch's")
    return parser


if __name__ == "__main__":
    main()
