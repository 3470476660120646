"""Colours of classes, the same in every picture of the project."""

from __future__ import annotations

import numpy as np

from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree, Node

# Chosen so that the first six stay apart for colour-blind readers: the smallest OKLab distance of
# a pair is 0.117 seen with deuteranopia, protanopia or tritanopia (Machado et al. 2009); 0.033 in
# Paul Tol's scheme "bright". Four warm colours before the cool ones, so that siblings are akin
# and the mean of a family is a clear colour.
_COLOURS = [
    *("#ff9e4a", "#c8324b", "#ffdd57", "#7a2a6e", "#67cfe3", "#2a62b5"),
    *("#bc7dfb", "#4a5420", "#a6d854", "#8c5a2b", "#f7a8c4", "#8d99a6"),
]
_WHOLE = "#2a9d8f"
"""Of a node that holds all of the foreground, whose mean colour would be a gray."""


def class_colours(tree: ClassTree) -> dict[str, tuple[int, int, int]]:
    """RGB (0 to 255) of every class; leaves in the order of the tree, background black.

    An inner node has the mean colour of its leaves, or a colour of its own if it has them all.
    """
    leaves = _foreground(tree.root)
    colours = {leaf.name: _of_leaf(i) for i, leaf in enumerate(leaves)}
    colours |= {leaf.name: (0, 0, 0) for leaf in tree.leaves if leaf.id == BACKGROUND}
    for node in tree.root.walk():
        if not node.is_leaf:
            own = _foreground(node)
            mean = _mean([colours[leaf.name] for leaf in own])
            colours[node.name] = _rgb(_WHOLE) if own == leaves else mean
    return colours


def palette(tree: ClassTree) -> np.ndarray:
    """Leaf id -> RGB, (256, 3) uint8; ignored pixels are light gray."""
    return level_palette(tree, tree.depth - 1)


def level_palette(tree: ClassTree, level: int) -> np.ndarray:
    """Leaf id -> RGB of the class that holds it at `level`, (256, 3) uint8."""
    table = np.zeros((256, 3), np.uint8)
    table[255] = 224
    colours = class_colours(tree)
    for node in tree.level(level):
        table[list(tree.ids(node.name))] = colours[node.name]
    return table


def _foreground(node: Node) -> list[Node]:
    return [leaf for leaf in node.leaves() if leaf.id != BACKGROUND]


def _of_leaf(number: int) -> tuple[int, int, int]:
    """The thirteenth is a lighter shade of the first, the 25th a darker one, and so on."""
    turn, place = divmod(number, len(_COLOURS))
    shade = 1 - 0.7 ** ((turn + 1) // 2)
    aim = 255 if turn % 2 else 0
    red, green, blue = (round(value + (aim - value) * shade) for value in _rgb(_COLOURS[place]))
    return red, green, blue


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mean(colours: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    red, green, blue = np.mean(colours, axis=0).round().astype(int).tolist()
    return red, green, blue
