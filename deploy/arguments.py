"""What command lines have in common."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """`type` of an argument. Raises ArgumentTypeError for all but whole numbers from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)
