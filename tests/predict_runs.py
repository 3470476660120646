"""Runs of `python -m final_model_stage.predict` in the current folder, and what they left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from drawn_files import photograph

from final_model_stage import predict


def write(path: str, seed: int = 0, size: tuple[int, int] = (40, 60)) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    photograph(size, seed).save(path)
    return Path(path)


def run(*words: str) -> int:
    try:
        predict.main([*words, "--out", "out", "--precision", "32-true"])
    except SystemExit as stop:
        if isinstance(stop.code, str):  # as the interpreter does with words
            print(stop.code, file=sys.stderr)
            return 1
        return stop.code or 0
    return 0


def index() -> dict[str, dict]:
    """By name; each name once."""
    lines = [json.loads(line) for line in Path("out/index.jsonl").read_text().splitlines()]
    assert len({line["source"] for line in lines}) == len(lines)
    return {line["name"]: line for line in lines}


def outputs() -> set[str]:
    return {str(p.relative_to("out")) for p in Path("out").rglob("*") if p.is_file()}
