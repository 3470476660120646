"""Which classes of a source become which leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing_stage.converters.class_mapping import MappingError, flat_mapping, make_mapping
from preprocessing_stage.converters.masks import read_class_names


def test_a_colour_without_quotes_is_pointed_out() -> None:
    section = {"person": {"background": "#000000", "body": None}}
    with pytest.raises(MappingError, match="body: the source has no class None; what follows a #"):
        make_mapping(section, {0: "#000000", 1: "#ff0000"}, "tree.yaml")


@pytest.mark.parametrize(
    ("classes", "leaf_of", "names"),
    [
        (
            {0: "__background__", 2: "a", 9: "b"},
            {0: 0, 2: 2, 9: 9},
            {0: "background", 2: "a", 9: "b"},
        ),
        ({1: "a", 9: "b"}, {1: 1, 9: 9}, {1: "a", 9: "b"}),
        ({0: "a", 1: "BG"}, {0: 1, 1: 0}, {0: "background", 1: "a"}),
        ({0: "a", 1: "b"}, {0: 1, 1: 2}, {1: "a", 2: "b"}),
        ({0: "bg", 300: "b"}, {0: 0, 300: 1}, {0: "background", 1: "b"}),
        ({0: "bg", 2: "ignore", 3: "b"}, {0: 0, 2: 255, 3: 3}, {0: "background", 3: "b"}),
        ({0: "b", 2: "ignore", 3: "c"}, {0: 1, 2: 255, 3: 2}, {1: "b", 2: "c"}),
    ],
)
def test_without_a_tree_ids_stay_if_0_is_the_background(
    classes: dict[int, str], leaf_of: dict[int, int], names: dict[int, str]
) -> None:
    mapping = flat_mapping(classes)
    assert mapping.leaf_of == leaf_of
    assert {leaf.id: leaf.name for leaf in mapping.tree.leaves} == names


def test_all_problems_of_a_tree_come_at_once() -> None:
    classes = dict(enumerate(["background", "hat", "Upper-clothes", "левая нога"]))
    section = {"person": {"background": ["background", "hut"], "body": {"head": "hat", "x": "hat"}}}
    with pytest.raises(MappingError) as refused:
        make_mapping(section, classes, "tree.yaml")
    message = str(refused.value)
    assert "background: the source has no class 'hut'; alike are hat" in message
    assert "x: 'hat' stands under another leaf too" in message
    assert "no leaf for Upper-clothes, левая нога" in message


def test_classes_of_one_name_are_one_leaf() -> None:
    mapping = flat_mapping({0: "background", 1: "person", 2: "person", 3: "Background"})
    assert [leaf.name for leaf in mapping.tree.leaves] == ["background", "person"]
    assert dict(mapping.leaf_of) == {0: 0, 1: 1, 2: 1, 3: 0}


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("background\n1 euro\n2 euro\n", {0: "background", 1: "1 euro", 2: "2 euro"}),
        ("0 background\n\n1: hat\n7\tleft arm\n", {0: "background", 1: "hat", 7: "left arm"}),
        ("0: background\n5: 1 euro\n6: 2 euro\n", {0: "background", 5: "1 euro", 6: "2 euro"}),
    ],
)
def test_a_list_of_classes_has_ids_only_if_every_line_has_one(
    text: str, classes: dict[int, str], tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert read_class_names(str(tmp_path / "names.txt")) == classes
