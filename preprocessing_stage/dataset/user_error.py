"""What a person has to put right, in words instead of a traceback."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps


class UserError(ValueError):
    """Its text names the file or key, the value and the remedy."""


def exits_on_user_error(main: Callable[[], None]) -> Callable[[], None]:
    """`main`, which ends with a line for each problem where the user's files or params have some,
    or where the machine refuses a file: no permission, no space, not there."""

    @wraps(main)
    def run() -> None:
        try:
            main()
        except (UserError, OSError) as error:
            raise SystemExit(str(error)) from error

    return run
