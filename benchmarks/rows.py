"""What a benchmark tells: lines of one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Row:
    """A figure of ours beside another one, in the same unit."""

    what: str
    ours: float
    unit: str
    against: str = ""
    """What the other figure was measured on."""
    other: float | None = None
    target: str = ""
    """What the ratio should be."""

    @property
    def ratio(self) -> float | None:
        """Ours over the other."""
        return None if self.other is None else self.ours / self.other


class Result(Protocol):
    """A dataclass of figures that knows its lines of the table."""

    def rows(self) -> list[Row]: ...


HEADER = ("", "ours", "", "against", "its figure", "ratio", "target")


def text_table(results: dict[str, Result]) -> str:
    """Columns side by side, to be read in a terminal."""
    lines = [HEADER, *_cells(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(results: dict[str, Result]) -> str:
    """The same for a page of the documentation."""
    return markdown(HEADER, _cells(results))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(results: dict[str, Result]) -> Sequence[tuple[str, ...]]:
    return [
        (
            f"{name}: {row.what}",
            _figure(row.ours),
            row.unit,
            row.against,
            "" if row.other is None else _figure(row.other),
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.target,
        )
        for name, result in results.items()
        for row in result.rows()
    ]


def _figure(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
