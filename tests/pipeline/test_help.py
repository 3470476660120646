"""`--help` of every command has an example, and the command takes it."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from dvc.cli.parser import get_main_parser

ROOT = Path(__file__).parents[2]
PACKAGES = ("preprocessing_stage", "train_stage", "final_model_stage", "deploy", "benchmarks")
NAMES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text()
]
SLOW = ("preprocessing_stage.render_people",)
"""To import."""
MODULES = [pytest.param(m, marks=pytest.mark.slow if m in SLOW else ()) for m in NAMES]


class ReachedError(Exception):
    """The parser is made; nothing has run yet."""


def parser_of(module: str) -> argparse.ArgumentParser:
    """The one that `python -m module` reads its arguments with."""
    found: list[argparse.ArgumentParser] = []

    def stop(self: argparse.ArgumentParser, *given: object) -> None:
        found.append(self)
        raise ReachedError

    with (
        mock.patch("sys.argv", [module]),
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        pytest.raises(ReachedError),
    ):
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    return found[0]


def with_kinds(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def examples(text: str, module: str) -> list[list[str]]:
    """Arguments of the commands in a help text: a line each, or between backticks."""
    command = rf"python -m {re.escape(module)}\b(?!\.)"
    found = re.findall(rf"^ +{command}(.*)$", text, re.MULTILINE)
    found += re.findall(rf"`{command}([^`]*)`", " ".join(text.split()))
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules.*:RuntimeWarning")
@pytest.mark.parametrize("module", MODULES)
def test_help_has_an_example_that_the_command_takes(module: str) -> None:
    parser = parser_of(module)
    for one in with_kinds(parser):
        found = examples(one.format_help(), module)
        taken = [words for words in found if not any(set("[]") & set(word) for word in words)]
        assert taken, one.prog
        for words in taken:
            parser.parse_args(words)


@pytest.mark.parametrize("script", ["pipeline.sh", "run_tests.sh"])
def test_help_of_a_script_has_an_example(script: str) -> None:
    done = subprocess.run(["bash", script, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    lines = re.findall(rf"^ +\./{script}(.*)$", done.stdout, re.MULTILINE)
    found = [shlex.split(line, comments=True) for line in lines]
    assert len(found) > 1
    if script == "pipeline.sh":
        for words in found:
            options = 4 if words[:1] == ["--profile"] else 0
            get_main_parser().parse_args(["repro", *words[options:]])
