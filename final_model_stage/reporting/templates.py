"""Pages from Jinja templates: how they are filled and saved, how figures stand in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from final_model_stage.evaluation.metrics import format_figure
from preprocessing_stage.drawing.class_names import readable


def fill(template: Path, **context: Any) -> str:
    """A Jinja template with the values of `context`, which are escaped in HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=template.suffixes[0] == ".html",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "readable": readable,
        "sentence": sentence,
        "figure": format_figure,
        "percent": percent,
        "css": css,
        "code": code,
    }
    text = environment.get_template(template.name).render(context)
    return re.sub(r"\n\s*\n+", "\n\n", text).lstrip()  # loops leave blank lines


def percent(share: float | None, digits: int = 0) -> str:
    return format_figure(share if share is None else 100 * share, digits)


def css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def code(words: str) -> Markup:
    """Words for a page, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))


def sentence(words: str) -> str:
    """With a capital at its start and a full stop at its end."""
    return words[:1].upper() + words[1:].rstrip(". ") + "."
