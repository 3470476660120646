"""How names of classes stand in pictures and on pages."""

from __future__ import annotations

from typing import Any

PLAIN_TEXT: dict[Any, Any] = {"text.parse_math": False}
"""For matplotlib: names of classes and files may hold a $."""


def readable(name: str) -> str:
    return name.replace("_", " ")
