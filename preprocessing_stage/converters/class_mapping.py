"""Which class of the source becomes which leaf of the class tree.

A tree file is the section `tree` of params.yaml with source classes in place of ids:

    person:
      background: [background, bag]
      body:
        upper_body: {head: [hat, hair, face], arms: [left_arm, 15]}
        legs: "#00ff00"
      ignore: [crowd]

A source class is named by its name or its id; where masks in colour come without names, by its
colour, in quotes. Ids of the leaves are given in order, 0 to the leaf called `background` or `bg`.
What stands under `ignore` becomes 255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from preprocessing_stage.converters.source import IGNORED
from preprocessing_stage.dataset.class_tree import IGNORE, ClassTree, tree_problems

IGNORE_KEY = "ignore"


class MappingError(ValueError):
    """Everything that is wrong with a tree file, one problem a line."""


@dataclass(frozen=True)
class ClassMapping:
    tree: ClassTree
    leaf_of: Mapping[int, int]
    """Source id -> leaf id or 255."""

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Source ids (H, W) int32 -> leaf ids (H, W) uint8. Raises ValueError for unknown ids."""
        found = np.unique(labels)
        if unknown := [int(i) for i in found if i != IGNORED and int(i) not in self.leaf_of]:
            raise ValueError(f"has ids {unknown} that are no class of the source")
        values = [IGNORE if i == IGNORED else self.leaf_of[int(i)] for i in found]
        return np.array(values, np.uint8)[np.searchsorted(found, labels)]


def read_mapping(path: Path, classes: Mapping[int, str]) -> ClassMapping:
    """The mapping in a tree file. Raises MappingError with all problems.

    classes: source id -> name.
    """
    try:
        section = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, YAMLError) as error:
        raise MappingError(f"{path}: {error}") from error
    if not isinstance(section, Mapping):
        raise MappingError(f"{path}: needs a tree, for example `person: {{body: [face, arm]}}`")
    return make_mapping(section, classes, str(path))


def flat_mapping(classes: Mapping[int, str], root: str = "image") -> ClassMapping:
    """A leaf for each class of the source, all below one root. Raises MappingError.

    Classes keep their ids if 0 is the background or none of them; else they get others from 1 on.
    """
    if all(name.startswith("#") for name in classes.values()):
        raise MappingError("the classes are colours without names; give --tree or --labelmap")
    names = {i: "background" if _is_background(name) else name for i, name in classes.items()}
    named: dict[str, list[int]] = {}
    for i, name in names.items():
        named.setdefault(name, []).append(i)
    mapping = make_mapping({root: named}, classes, "classes")
    ids = {0: "background"} | names
    if ids[0] == "background" and len({*ids.values()}) == len(ids) and max(ids) < IGNORE:
        leaves = {name: i for i, name in names.items() if name != IGNORE_KEY}
        if not tree_problems({root: leaves}):
            return ClassMapping(
                ClassTree({root: leaves}),
                {i: leaves.get(name, IGNORE) for i, name in names.items()},
            )
    return mapping


def make_mapping(
    section: Mapping[str, Any], classes: Mapping[int, str], where: str
) -> ClassMapping:
    """The mapping of a tree with source classes as leaves. Raises MappingError."""
    named: dict[str, list[Any]] = {}
    tree = _with_ids(section, named)
    problems = tree_problems(tree)
    ids_of_leaf = dict(_leaves(tree))
    leaf_of: dict[int, int] = {}
    for leaf, sources in named.items():
        for source in sources:
            found = _source_ids(source, classes)
            if not found:
                hint = _hint(source, classes)
                problems.append(f"{leaf}: the source has no class {source!r}{hint}")
            for i in found:
                if i in leaf_of:
                    problems.append(f"{leaf}: {source!r} stands under another leaf too; keep one")
                leaf_of[i] = IGNORE if leaf == IGNORE_KEY else ids_of_leaf.get(leaf, IGNORE)
    if missing := [name for i, name in classes.items() if i not in leaf_of]:
        problems.append(
            f"no leaf for {', '.join(missing)}; put them under a leaf, the background or "
            f"`{IGNORE_KEY}`"
        )
    if problems:
        raise MappingError("\n  ".join([f"{where}:", *problems]))
    return ClassMapping(ClassTree(tree), leaf_of)


def _with_ids(section: Mapping[str, Any], named: dict[str, list[Any]]) -> dict[str, Any]:
    """The tree with ids, in order; fills `named`: leaf or `ignore` -> its source classes."""
    numbers = iter(range(1, 10_000))

    def build(name: str, below: Any) -> Any:
        if isinstance(below, Mapping):
            built = {str(child): build(str(child), under) for child, under in below.items()}
            return {child: value for child, value in built.items() if child != IGNORE_KEY}
        named.setdefault(name, []).extend(below if isinstance(below, list) else [below])
        if name == IGNORE_KEY:
            return None
        return 0 if _is_background(name) else next(numbers)

    return {str(root): build(str(root), below) for root, below in section.items()}


def _is_background(name: str) -> bool:
    return name.strip("_").casefold() in ("background", "bg")


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, below in tree.items():
        if isinstance(below, Mapping):
            yield from _leaves(below)
        else:
            yield name, below


def _hint(source: Any, classes: Mapping[int, str]) -> str:
    if source is None:
        return "; what follows a # without quotes is a comment"
    alike = get_close_matches(str(source), [*classes.values()], n=3)
    return f"; alike are {', '.join(alike)}" if alike else ""


def _source_ids(source: Any, classes: Mapping[int, str]) -> list[int]:
    """Ids of the source's classes that are called so, by id or by name."""
    if isinstance(source, int) and source in classes:
        return [source]
    return [i for i, name in classes.items() if name.casefold() == str(source).casefold()]
