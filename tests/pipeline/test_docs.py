"""What the documentation says can be typed: commands, files, links, and its worked example."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tiny_network
from doc_pages import blocks, commands
from dvc.cli.parser import get_main_parser
from PIL import Image
from ruamel.yaml import YAML

from final_model_stage.params import final_problems
from final_model_stage.pipeline.check_params import check_all
from final_model_stage.pipeline.merge_profile import merge_profile
from preprocessing_stage.dataset.check_dataset import DatasetError
from preprocessing_stage.params import ParamsError, preprocessing_problems, read_yaml
from train_stage.params import merge, train_problems

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
MADE = {"profiles/animals.yaml", "data/mine/mine.yaml"}
"""Files that a reader of docs/own_data.md makes."""
OUTSIDE = {
    "cd",
    "cp",
    "do",
    "done",
    "find",
    "for",
    "git",
    "rm",
    "pre-commit",
    "tensorboard",
    "unzip",
    "wait",
}
"""First words of commands that are not the project's to check."""


@pytest.mark.parametrize("page", NAMES)
def test_commands_can_be_typed(page, monkeypatch):
    for command in commands(page):
        check_command(command, monkeypatch)


def check_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, *arguments = words
    if name == "torchrun":
        name, arguments = "python", arguments[arguments.index("-m") :]
    if name in ("python", ".venv/bin/python") and arguments[:2] != ["-m", "pytest"]:
        check_python(arguments, monkeypatch)
    elif name == "dvc":
        assert arguments[-1] != "repro", "without a target it renders people for data of others too"
        check_dvc(arguments)
    elif name in ("pytest", "python", "./run_tests.sh"):
        assert all((ROOT / w).exists() for w in arguments if w.endswith(".py") and "*" not in w)
        check_selection(arguments)
    elif name in ("pip", ".venv/bin/pip"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for word in (w for w in arguments if w.startswith(".[")):
            assert {*word[2:-1].split(",")} <= extras["optional-dependencies"].keys(), words
    elif name == "source":
        assert arguments[0] in (".venv/bin/activate", "./setup.sh"), words
    elif name == "benchmarks/offline/run.sh":
        assert len(arguments) == 3 and (ROOT / name).exists(), words
    elif name == "./pipeline.sh":
        while arguments and arguments[0] in ("--profile", "--data"):
            option, value, *arguments = arguments
            assert option == "--data" or value in MADE or (ROOT / value).exists(), words
        check_dvc(["repro", *arguments])
    else:
        assert name in OUTSIDE, words


def check_python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's arguments by its own parser, a script's options by their names in its text."""
    while arguments[0] == "-W":
        arguments = arguments[2:]
    if arguments[0] != "-m":
        text = (ROOT / arguments[0]).read_text()
        assert all(f'"{word}"' in text for word in arguments if word.startswith("--")), arguments
        return
    module = importlib.import_module(arguments[1])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{arguments[1]}.__main__")
    assert module.__file__
    if "parse_args()  # none, but --help" in Path(module.__file__).read_text():
        assert arguments[2:] == [] and callable(module.main), arguments
        return
    parse = argparse.ArgumentParser.parse_args

    class ParsedError(Exception):
        pass

    def stop(self: argparse.ArgumentParser, *given: Any) -> None:
        parse(self, *given)
        raise ParsedError

    with monkeypatch.context() as patch, pytest.raises(ParsedError):
        patch.setattr(sys, "argv", arguments[1:])
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        module.main()


def check_dvc(arguments: list[str]) -> None:
    """Options by DVC's own parser; stages and keys of params by our files."""
    parsed = get_main_parser().parse_args(arguments)
    params = read_yaml(ROOT / "params.yaml")
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    known = {*stages, *(f"train@{name}" for name in params["experts"]), "train@NAME"}
    targets = parsed.targets if {"repro", "commit"} & {*arguments} else []
    assert set(targets or []) <= known, arguments
    for change in getattr(parsed, "set_param", None) or []:
        key, _, value = change.partition("=")
        below: Any = params
        section, *rest = key.removeprefix("+").split(".")
        if section == "experts":
            added = key.startswith("+")
            below, rest = (params["train"] if added else params["experts"][rest[0]]), rest[1:]
        else:
            below = params[section]
        for name in rest:
            assert name in below, change
            below = below[name]
        assert value, change


def check_selection(arguments: list[str]) -> None:
    """Each name that `-k` is given occurs in the chosen test files."""
    files = [ROOT / word for word in arguments if word.endswith(".py") and "*" not in word]
    if "-k" not in arguments or not files:
        return
    wanted = re.findall(r"\w+", arguments[arguments.index("-k") + 1])
    tests = [name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())]
    for word in set(wanted) - {"or", "and", "not"}:
        assert any(word.lower() in name.lower() for name in tests), arguments


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), link


@pytest.mark.parametrize("page", NAMES)
def test_files_in_the_text_exist(page):
    folders = (
        r"(?:preprocessing_stage|train_stage|final_model_stage|deploy|benchmarks|tests|profiles)"
    )
    for path in re.findall(rf"`({folders}/[\w/]+\.\w+)`", (ROOT / page).read_text()):
        assert (ROOT / path).exists() or path == "profiles/animals.yaml", path


@pytest.mark.parametrize("page", NAMES)
def test_params_and_imports_in_the_text_are_valid(page):
    for block in blocks(page, "yaml"):
        profile = YAML(typ="safe", pure=True).load(block)
        sections = merge_profile(read_yaml(ROOT / "params.yaml"), profile, Path("data"))
        checks = (preprocessing_problems, train_problems, final_problems)
        assert [problem for check in checks for problem in check(sections)[1]] == []
    for block in blocks(page, "python"):
        imports = (ast.Import, ast.ImportFrom)
        body: list[ast.stmt] = [node for node in ast.parse(block).body if isinstance(node, imports)]
        exec(compile(ast.Module(body, []), page, "exec"), {})


@pytest.fixture
def animals(tmp_path, monkeypatch):
    """The worked example of docs/own_data.md in a folder of its own, with a tiny network."""
    monkeypatch.chdir(tmp_path)
    [program] = blocks("docs/own_data.md", "python")
    exec(compile(program, "docs/own_data.md", "exec"), {})
    changes, _ = blocks("docs/own_data.md", "yaml")
    own = YAML(typ="safe", pure=True).load(changes)
    tiny = {"input_size": 32, "epochs": 1, "decoder_epochs": 1, "precision": "32-true"}
    params = merge(
        merge_profile(read_yaml(ROOT / "params.yaml"), own, Path("animals")),
        {
            "data": {"longest_side": 64},
            "train": {**tiny, "model": tiny_network.SIZE},
            "shared": {"encoder_weights": None, "epochs": 2},
            "final": {"bootstrap": 100, "precision": "32-true"},
        },
    )
    Path("profiles").mkdir()
    for file in (Path("params.yaml"), Path("profiles/animals.yaml")):
        YAML().dump(params, file)
    return params


def said(problems: str) -> bool:
    """Whether docs/own_data.md shows this message; the bytes that Pillow misses may differ."""
    shown = re.sub(r"\(\d+ bytes", "(N bytes", "".join(blocks("docs/own_data.md", "text")))
    return re.sub(r"\(\d+ bytes", "(N bytes", problems) in shown


def run(module: str, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        importlib.import_module(module).main()


@pytest.mark.slow
def test_the_example_becomes_a_segmenter(animals):
    run("final_model_stage.pipeline.check_params", "profiles/animals.yaml")
    for name in ("pack_samples", "class_frequencies", "find_grayscale", "sample_sheet"):
        run(f"preprocessing_stage.{name}")
    run("train_stage.train_shared")
    run("train_stage.predict_out_of_fold")
    for expert in animals["experts"]:
        run("train_stage.train_expert", expert)
    run("final_model_stage.build_segmenter")
    run("final_model_stage.evaluate_segmenter", "models/segmenter", "animals", "--out", "results")
    figures = read_yaml(Path("results/metrics.json"))
    assert figures["images"] == 8
    assert figures["iou"].keys() == {
        *("plant", "animal", "bird", "fish", "wing", "beak", "trunk", "fin", "flank")
    }


def test_params_that_do_not_fit_are_refused_as_the_page_says(animals):
    animals["tree"]["scene"]["animal"]["fish"] = {"fin": 4}
    animals["train"]["input_size"] = "big"
    animals["final"]["modus"] = "hard"
    YAML().dump(animals, Path("params.yaml"))
    with pytest.raises(ParamsError) as refused:
        check_all(Path("params.yaml"))
    assert said(str(refused.value)), refused.value


def test_a_data_set_that_does_not_fit_is_refused_as_the_page_says(animals):
    Path("animals/gt_masks/train_03.png").unlink()
    classes = Path("animals/classes.txt")
    classes.write_text(classes.read_text().replace("plant", "tree"))
    with Path("animals/train_id.txt").open("a") as file:
        file.write("\nval_01\n")
    with pytest.raises(DatasetError) as refused:
        check_all(Path("profiles/animals.yaml"))
    assert said(str(refused.value)), refused.value


def test_files_that_do_not_fit_are_refused_as_the_page_says(animals):
    with Image.open("animals/gt_masks/train_05.png") as labels:
        labels.putpixel((0, 0), 77)
        labels.save("animals/gt_masks/train_05.png")
    with Image.open("animals/gt_masks/train_06.png") as labels:
        labels.resize((60, 48), Image.Resampling.NEAREST).save("animals/gt_masks/train_06.png")
    photograph = Path("animals/JPEGImages/val_02.jpg")
    photograph.write_bytes(photograph.read_bytes()[:-200])
    with pytest.raises(SystemExit) as refused:
        run("preprocessing_stage.pack_samples")
    assert said(str(refused.value)), refused.value
