"""A page to try a segmenter on photographs of one's own, and to watch its chain at work.

    python -m deploy.demo

then http://127.0.0.1:7860 in a browser. Photographs stay on this machine and in its memory; the
page needs nothing from elsewhere, and no file of this machine can be asked for through it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.predict.sources import find_segmenter
from final_model_stage.segmenter import Segmenter
from preprocessing_stage.dataset.dataset_folder import DatasetFolder
from preprocessing_stage.params import load_params

EXAMPLES = 8


def find_examples(folder: DatasetFolder) -> list[Path]:
    """Validation images from all over the list, as many as the page shows; none without data."""
    try:
        ids = folder.ids("val")
    except FileNotFoundError:
        return []
    chosen = ids[:: max(1, len(ids) // EXAMPLES)][:EXAMPLES]
    return [path for path in map(folder.image_path, chosen) if path is not None]


def main() -> None:
    arguments = _parser().parse_args()
    try:
        import uvicorn

        from deploy.demo.server import CONNECTIONS, LOOPBACK, Demo, make_app
    except ImportError as error:
        raise SystemExit(f"{error}; the page needs: pip install '.[demo]'") from error
    try:
        path = arguments.segmenter or find_segmenter()
        demo = Demo(
            Segmenter.load(path),
            path.resolve().name,
            find_examples(DatasetFolder(arguments.data or load_params().data.folder)),
            max_bytes=arguments.max_megabytes * 1_000_000,
            max_pixels=arguments.max_megapixels * 1_000_000,
        )
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if arguments.host not in LOOPBACK:
        print(f"Whoever reaches {arguments.host}:{arguments.port} may use the page.")
    print(f"http://{arguments.host}:{arguments.port}", flush=True)
    app = make_app(demo, arguments.host)
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        limit_concurrency=CONNECTIONS,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segmenter", type=Path, help="folder with segmenter.json")
    parser.add_argument("--data", type=Path, help="folder in the Pascal-Part layout, for examples")
    parser.add_argument("--host", default="127.0.0.1", help="address, default %(default)s")
    parser.add_argument("--port", type=int, default=7860, help="default %(default)s")
    parser.add_argument(
        "--max-megabytes", type=_positive, default=20, help="of an upload, default %(default)s"
    )
    parser.add_argument(
        "--max-megapixels", type=_positive, default=100, help="of a picture, default %(default)s"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 up")
    return int(text)


if __name__ == "__main__":
    main()
