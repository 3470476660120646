"""A page to try a segmenter on your own photographs, and to follow its chain expert by expert.

    python -m deploy.demo
    python -m deploy.demo --segmenter models/segmenter --port 8000

then open http://127.0.0.1:7860 in a browser. Photographs stay in this machine's memory; the page
loads nothing from elsewhere and gives access to no file of this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from deploy.arguments import positive
from final_model_stage.chain.find_segmenter import find_segmenter
from final_model_stage.segmentation import Segmenter
from final_model_stage.validation_images import spread_images
from preprocessing_stage.dataset.user_error import exits_on_user_error

EXAMPLES = 8
"""Validation images that the page offers."""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(argv)
    try:
        import uvicorn

        from deploy.demo.server import CONNECTIONS, LOOPBACK, Demo, make_app
    except ImportError as error:
        raise SystemExit(f"{error}; the page needs: pip install '.[demo]'") from error
    with exits_on_user_error(ValueError, ImportError):
        path = find_segmenter(arguments.segmenter)
        demo = Demo(
            Segmenter.load(path),
            path.resolve().name,
            spread_images(arguments.data, EXAMPLES),
            max_bytes=arguments.max_megabytes * 1_000_000,
            max_pixels=arguments.max_megapixels * 1_000_000,
        )
    address = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    if arguments.host not in LOOPBACK:
        print(f"Everyone who can reach {address}:{arguments.port} can use the page.")
    print(f"http://{address}:{arguments.port}", flush=True)
    uvicorn.run(
        make_app(demo, arguments.host, arguments.allow_host),
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        limit_concurrency=CONNECTIONS,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--segmenter", type=Path, metavar="FOLDER", help="default: the trained or the shipped one")
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="for examples; default: that of params.yaml",
    )
    add("--host", default="127.0.0.1", help="address to serve at, default %(default)s")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that a proxy forwards, also repeated",
    )
    add("--port", type=_port, default=7860, help="default %(default)s")
    add("--max-megabytes", type=positive, default=20, help="of an upload, default %(default)s")
    add("--max-megapixels", type=positive, default=100, help="of an image, default %(default)s")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
