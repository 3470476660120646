"""What a person has to put right, in words instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Its text names the file or key, the value and the remedy."""


@contextmanager
def exits_on_user_error(*others: type[Exception]) -> Iterator[None]:
    """Decorates a `main`, or is the block of one, that ends with a line for each problem where the
    user's files or params have some, or where the machine refuses a file: no permission, no space,
    not there.

    others: what is the user's mistake too. ValueError for what reads foreign files, as libraries
    raise it for damaged ones; elsewhere it is a bug, which needs its traceback.
    """
    mistakes: tuple[type[Exception], ...] = (UserError, OSError, *others)
    try:
        yield
    except mistakes as error:
        raise SystemExit(str(error)) from error


@contextmanager
def exits_without_pytorch() -> Iterator[None]:
    """The block of those imports of a command that need the pipeline's packages, which
    `pip install .` and `source ./setup.sh predict` leave out; it ends with what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}; this command needs PyTorch: pip install -r requirements.txt"
        ) from error
