"""Which segmenter a command uses when none is named."""

from __future__ import annotations

import sys
from pathlib import Path

from preprocessing_stage.paths import SEGMENTER, SHIPPED_SEGMENTER


def find_segmenter(given: Path | None = None) -> Path:
    """`given`, or else the trained segmenter, or else the shipped one; names it on stderr.

    Raises FileNotFoundError if none is given and the working folder has neither.
    """
    path = given or next((path for path in (SEGMENTER, SHIPPED_SEGMENTER) if path.is_dir()), None)
    if path is None:
        places = f"neither {SEGMENTER} nor {SHIPPED_SEGMENTER}"
        raise FileNotFoundError(
            f"no segmenter: {Path.cwd()} has {places}; name one with --segmenter FOLDER, or run "
            "./pipeline.sh in the project's folder to train one"
        )
    print(f"segmenter: {path}", file=sys.stderr)
    return path
