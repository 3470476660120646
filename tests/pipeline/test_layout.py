"""The layout tells the truth: data flows one way, and dvc.yaml names what each stage runs on."""

import ast
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PACKAGES = ["preprocessing_stage", "train_stage", "final_model_stage", "deploy", "benchmarks"]
"""In the order in which data flow."""
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for s in PACKAGES
    for path in sorted((ROOT / s).rglob("*.py"))
}


def project_imports(module: str) -> set[str]:
    """Modules of the project that a module imports at its top level."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            found |= names & MODULES.keys()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
    return found


def all_imports(module: str) -> set[str]:
    """The module and everything of the project that it imports, directly or not."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            queue += project_imports(name)
    return seen


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_from_earlier_ones_only(module):
    own = PACKAGES.index(module.partition(".")[0])
    later = [m for m in project_imports(module) if PACKAGES.index(m.partition(".")[0]) > own]
    assert not later


def dvc_stages():
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


@pytest.mark.parametrize("stage", dvc_stages())
def test_dvc_deps_cover_the_imports_and_no_more(stage):
    section = dvc_stages()[stage]
    words = shlex.split(section["cmd"])
    module = words[words.index("-m") + 1]
    modules = (MODULES[m].relative_to(ROOT) for m in all_imports(module))
    imported = {path for path in modules if path.name != "__init__.py"}
    code = [Path(dep) for dep in section["deps"] if dep.partition("/")[0] in PACKAGES]
    uncovered = [p for p in imported if not any(p.is_relative_to(dep) for dep in code)]
    assert not uncovered
    unused = [dep for dep in code if not any(p.is_relative_to(dep) for p in imported)]
    assert not unused
    assert all((ROOT / dep).exists() for dep in code)


def test_training_does_not_depend_on_pictures_or_figures():
    assert not [dep for dep in dvc_stages()["train"]["deps"] if "final_model_stage" in dep]


def test_every_module_says_what_it_is_for():
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), module
