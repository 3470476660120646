"""How names of classes stand in pictures and on pages."""

from __future__ import annotations


def readable(name: str) -> str:
    return name.replace("_", " ")
