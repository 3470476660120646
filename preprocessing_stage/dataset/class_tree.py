"""The class tree: which expert splits which part of the image into what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255
"""Label of pixels that take part in nothing: neither training nor evaluation."""

BACKGROUND = 0
"""Leaf id that is left out of every mean over the classes of a level."""

MAX_LEAVES = 250
"""Samples keep codes of 8 bits, some of which mean something else."""

_EXPERT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Names of inner nodes become names of files and of stages."""
_CLASS = re.compile(r"[^\W_]([^:/\\\x00-\x1f\x7f]*[^\s:/\\\x00-\x1f\x7f])?")
"""Names of leaves may have spaces, hyphens and letters of any script."""


@dataclass(frozen=True)
class Node:
    """A class: a leaf with its `id` in the label maps, or an inner node that an expert splits."""

    name: str
    id: int | None
    children: tuple[Node, ...] = ()

    @property
    def is_leaf(self) -> bool:
        return self.id is not None

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents before their children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> tuple[Node, ...]:
        """The leaves at or below this node, left to right."""
        return tuple(node for node in self.walk() if node.is_leaf)


class ClassTree:
    """The hierarchy of classes, built from the section `tree` of `params.yaml`.

    The root is the whole image. Inner nodes bear the name of the expert that splits them. The
    level of a class is its distance from the root less one, so the root's children are level 0;
    a leaf above the deepest level also counts, unchanged, at every level below its own.

    >>> tree = ClassTree({"person": {"background": 0, "body": {"upper": 1, "lower": 2}}})
    >>> tree.experts, [node.name for node in tree.level(1)]
    (('person', 'body'), ['upper', 'lower'])
    """

    def __init__(self, section: Mapping[str, Any], swap: Sequence[Sequence[str]] = ()) -> None:
        """swap: pairs of leaves that change places when an image is flipped, left and right.

        Raises ValueError that lists everything wrong with `section` or `swap`.
        """
        if problems := tree_problems(section) or swap_problems(section, swap):
            raise ValueError("\n".join(problems))
        self.swap = [list(pair) for pair in swap]
        [(name, children)] = section.items()
        self.root = _build(name, children)
        self._nodes = {node.name: node for node in self.root.walk()}
        self._parents: dict[str, Node | None] = {self.root.name: None}
        self._levels = {self.root.name: -1}
        for node in self.root.walk():
            for child in node.children:
                self._parents[child.name] = node
                self._levels[child.name] = self._levels[node.name] + 1

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the inner nodes, parents before their children; the root comes first."""
        return tuple(name for name, node in self._nodes.items() if not node.is_leaf)

    @property
    def leaves(self) -> tuple[Node, ...]:
        """All leaves, the background among them, in order of their ids."""
        return self.leaves_of(self.root.name)

    @property
    def leaf_names(self) -> dict[int, str]:
        """Id -> name of all leaves, in the order of `leaves`."""
        return {leaf.id: leaf.name for leaf in self.leaves if leaf.id is not None}

    @property
    def foreground_rows(self) -> list[int]:
        """Where the leaves other than the background stand in `leaves`."""
        return [row for row, i in enumerate(self.leaf_names) if i != BACKGROUND]

    @property
    def depth(self) -> int:
        """Number of levels."""
        return max(self._levels.values()) + 1

    def level(self, k: int) -> tuple[Node, ...]:
        """Classes of level `k` without the background: a partition of the foreground."""
        return tuple(
            node
            for name, node in self._nodes.items()
            if node.id != BACKGROUND
            and (self._levels[name] == k or (node.is_leaf and 0 <= self._levels[name] < k))
        )

    def parent(self, name: str) -> Node | None:
        """The node above, None for the root."""
        return self._parents[name]

    def ids(self, name: str) -> tuple[int, ...]:
        """Leaf ids that belong to the node `name`."""
        return tuple(leaf.id for leaf in self[name].leaves() if leaf.id is not None)

    def leaves_of(self, name: str) -> tuple[Node, ...]:
        """Leaves at or below the node `name`, in order of their ids: what its expert names."""
        return tuple(sorted(self[name].leaves(), key=lambda leaf: leaf.id or 0))

    def rows(self, name: str) -> list[int]:
        """Where the leaves at or below the node `name` stand in `leaves`."""
        own = self.ids(name)
        return [row for row, leaf in enumerate(self.leaves) if leaf.id in own]

    def leaves_of_children(self, expert: str) -> np.ndarray:
        """(children, leaves) bool: which of `leaves_of(expert)` lie in which child."""
        leaves = self.leaves_of(expert)
        return np.array(
            [[leaf in child.leaves() for leaf in leaves] for child in self[expert].children]
        )

    def leaf_of_id(self, name: str) -> np.ndarray:
        """Lookup table (256,) uint8: leaf id -> index in `leaves_of(name)`; others map to 255."""
        table = np.full(256, IGNORE, np.uint8)
        for index, leaf in enumerate(self.leaves_of(name)):
            table[leaf.id] = index
        return table

    def flipped(self, name: str) -> list[int]:
        """For each of `leaves_of(name)` the place of the leaf that it is in a flipped image."""
        other = {a: b for pair in self.swap for a, b in (pair, pair[::-1])}
        leaves = [leaf.name for leaf in self.leaves_of(name)]
        return [leaves.index(other.get(leaf, leaf)) for leaf in leaves]

    def flat(self) -> ClassTree:
        """The tree whose root has all leaves as its children."""
        leaves = {name: i for i, name in self.leaf_names.items()}
        return ClassTree({self.root.name: leaves}, self.swap)

    def to_dict(self) -> dict[str, Any]:
        """The section that this tree was built from."""

        def plain(node: Node) -> Any:
            return (
                node.id if node.is_leaf else {child.name: plain(child) for child in node.children}
            )

        return {self.root.name: plain(self.root)}


def tree_problems(section: Any) -> list[str]:
    """What is wrong with the section `tree`, one line each; empty if it is a class tree."""
    if not isinstance(section, Mapping) or len(section) != 1:
        return ["tree: needs exactly one root, for example `person: {background: 0, body: 1}`"]
    problems: list[str] = []
    names: dict[str, str] = {}
    ids: dict[int, str] = {}

    def check(name: Any, below: Any, path: str, depth: int) -> None:
        is_expert = isinstance(below, Mapping)
        if not isinstance(name, str) or not (_EXPERT if is_expert else _CLASS).fullmatch(name):
            allowed = "letters of English, digits and _" if is_expert else "no : / \\ in it"
            problems.append(f"{path}: {name!r} is no name; use {allowed}, a letter first")
        elif name in names:
            problems.append(f"{path}: the name {name!r} is already used at {names[name]}")
        names.setdefault(str(name), path)
        if isinstance(below, Mapping):
            if depth > IGNORE:  # as deep as a tree of all ids may be
                problems.append(f"{path[:99]}...: is nested deeper than {IGNORE} levels")
                return
            if len(below) < 2:
                problems.append(
                    f"{path}: an inner node needs two children or more, has {len(below)}; "
                    "leave the node out or give it an id"
                )
            for child, under in below.items():
                check(child, under, f"{path}.{child}", depth + 1)
        elif isinstance(below, bool) or not isinstance(below, int) or not 0 <= below < IGNORE:
            problems.append(f"{path}: {below!r} is no leaf id; use 0 to 254 (255 means ignore)")
        elif below in ids:
            problems.append(f"{path}: id {below} is already used at {ids[below]}")
        else:
            ids[below] = path
            if below == BACKGROUND and depth != 1:
                problems.append(f"{path}: id 0 is the background, a child of the root only")

    [(root, children)] = section.items()
    if not isinstance(children, Mapping):
        return [f"tree.{root}: the root needs children"]
    check(root, children, f"tree.{root}", 0)
    if len(ids) > MAX_LEAVES:
        problems.append(f"tree.{root}: has {len(ids)} leaves, {MAX_LEAVES} are the most")
    return problems


def swap_problems(section: Any, swap: Any) -> list[str]:
    """What is wrong with the section `swap` of a class tree, one line each."""
    if not isinstance(swap, Sequence) or isinstance(swap, str):
        return [f"swap: needs a list of pairs of leaves, got {swap!r}"]
    siblings: dict[str, str] = {}
    for node in _build(*next(iter(section.items()))).walk():
        siblings |= {child.name: node.name for child in node.children if child.is_leaf}
    problems: list[str] = []
    seen: set[str] = set()
    for pair in swap:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            problems.append(f"swap: {pair!r} is no pair of leaves, like [left_arm, right_arm]")
            continue
        unknown = [name for name in pair if not isinstance(name, str) or name not in siblings]
        if unknown:
            problems.append(f"swap: {', '.join(map(repr, unknown))} is no leaf of the tree")
        elif len({siblings[name] for name in pair}) > 1:
            problems.append(
                f"swap: {pair[0]} and {pair[1]} have different parents; one expert must tell "
                "them apart"
            )
        elif pair[0] == pair[1] or seen.intersection(pair):
            problems.append(f"swap: {pair[0]} or {pair[1]} stands there twice")
        seen.update(map(str, pair))
    return problems


def unlisted_sides(tree: ClassTree) -> list[tuple[str, str]]:
    """Leaves that by their names are left and right of the same thing, and are in no pair."""
    names = {*tree.leaf_names.values()}
    known = {name for pair in tree.swap for name in pair}
    found = []
    for name in sorted(names - known):
        other = next((side for side in _right_of(name) if side in names - known), None)
        if other is not None:
            found.append((name, other))
    return found


def _right_of(name: str) -> Iterator[str]:
    """What the right one may be called if `name` is the left one of two."""
    for left, right in (("left", "right"), ("Left", "Right"), ("лев", "прав"), ("Лев", "Прав")):
        if left in name:
            yield name.replace(left, right, 1)
    if name.startswith("l_"):
        yield "r_" + name.removeprefix("l_")
    if name.endswith("_l"):
        yield name.removesuffix("_l") + "_r"


def _build(name: str, below: Any) -> Node:
    if isinstance(below, Mapping):
        return Node(name, None, tuple(_build(child, under) for child, under in below.items()))
    return Node(name, below)
