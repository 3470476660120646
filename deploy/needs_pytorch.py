"""What `pip install .` and `source ./setup.sh predict` leave out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exits_without_pytorch() -> Iterator[None]:
    """The block of those imports of a command that need the pipeline's packages; without them it
    ends with what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}; this command needs PyTorch: pip install -r requirements.txt"
        ) from error
