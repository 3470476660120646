"""How a figure is written out."""

from __future__ import annotations

import math


def shown(value: float | None, digits: int = 3) -> str:
    """A dash for a figure that is not there, null or nan."""
    return "\u2013" if value is None or math.isnan(value) else f"{value:.{digits}f}"
