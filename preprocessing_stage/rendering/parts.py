"""The classes that rendered people are labelled with."""

from __future__ import annotations

from preprocessing_stage.dataset.class_tree import ClassTree

TREE = ClassTree(
    {
        "person": {
            "background": 0,
            "body": {
                "upper_body": {"low_hand": 1, "torso": 2, "head": 4, "up_hand": 6},
                "lower_body": {"low_leg": 3, "up_leg": 5},
            },
        }
    }
)
"""Colours the label maps. A task may group the same leaves otherwise."""

PARTS = [*TREE.leaf_names.values()]
"""Names of the ids in label maps."""


def unlike_parts(tree: ClassTree) -> list[str]:
    """Where the leaves of a tree are not those of rendered people."""
    own = tree.leaf_names
    return [
        f"tree: id {i} is {own.get(i, 'absent')!r}, of rendered people {name!r}; keep their "
        "leaves, or set data.folder to your own data set"
        for i, name in enumerate(PARTS)
        if own.get(i) != name
    ] + [
        f"tree: {name!r} has id {i}, which no pixel of rendered people has; take it out, or set "
        "data.folder to your own data set"
        for i, name in own.items()
        if i >= len(PARTS)
    ]
