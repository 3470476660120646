"""The class tree: levels, lookup tables, and what is refused as a tree."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing_stage.dataset.class_tree import ClassTree, Node, tree_problems


def names(nodes) -> list[str]:
    return [node.name for node in nodes]


def test_experts_are_the_inner_nodes_parents_first(tree, deep_tree):
    assert tree.experts == ("person", "body", "upper_body", "lower_body")
    assert deep_tree.experts == ("scene", "animal", "front", "fore_leg", "rear")


def test_levels_of_the_person_tree(tree):
    assert tree.depth == 3
    assert names(tree.level(0)) == ["body"]
    assert names(tree.level(1)) == ["upper_body", "lower_body"]
    assert names(tree.level(2)) == ["low_hand", "torso", "head", "up_hand", "low_leg", "up_leg"]


def test_a_leaf_above_the_deepest_level_counts_at_every_level_below_its_own(deep_tree):
    assert deep_tree.depth == 4
    assert names(deep_tree.level(0)) == ["animal"]
    assert names(deep_tree.level(1)) == ["tail", "front", "rear"]
    assert names(deep_tree.level(2)) == ["tail", "skull", "fore_leg", "rump", "hind_leg"]
    assert names(deep_tree.level(3)) == ["tail", "skull", "hoof", "shin", "rump", "hind_leg"]


def test_every_level_is_a_partition_of_the_foreground(tree, deep_tree):
    for some in (tree, deep_tree):
        for level in range(some.depth):
            ids = [i for node in some.level(level) for i in some.ids(node.name)]
            assert sorted(ids) == [leaf.id for leaf in some.leaves if leaf.id != 0]


def test_leaves_come_in_order_of_their_ids(tree, deep_tree):
    assert [leaf.id for leaf in tree.leaves] == [0, 1, 2, 3, 4, 5, 6]
    assert [*deep_tree.leaf_names.items()] == [
        *[(0, "background"), (3, "hoof"), (5, "hind_leg"), (17, "skull"), (41, "rump")],
        *[(90, "shin"), (200, "tail")],
    ]
    assert [leaf.name for leaf in deep_tree.leaves] == [*deep_tree.leaf_names.values()]


def test_the_foreground_is_all_leaves_but_the_background(deep_tree):
    assert deep_tree.foreground_rows == [1, 2, 3, 4, 5, 6]
    assert ClassTree({"image": {"sky": 4, "ground": 2}}).foreground_rows == [0, 1]


def test_a_node_knows_its_parent_and_its_ids(deep_tree):
    assert deep_tree.parent("scene") is None
    assert deep_tree.parent("shin") is deep_tree["fore_leg"]
    assert deep_tree.ids("front") == (17, 3, 90)
    assert deep_tree.ids("tail") == (200,)


def test_leaf_of_id_maps_the_region_to_its_leaves_and_all_else_to_255(deep_tree):
    expected = np.full(256, 255)
    expected[[3, 17, 90]] = 0, 1, 2  # front: hoof, skull, shin
    table = deep_tree.leaf_of_id("front")
    assert table.dtype == np.uint8
    np.testing.assert_array_equal(table, expected)


def test_more_leaves_than_samples_can_code_are_refused():
    leaves = {f"leaf_{i}": i for i in range(1, 252)}
    with pytest.raises(ValueError, match="has 251 leaves, 250 are the most"):
        ClassTree({"image": leaves})


def test_leaf_of_id_of_the_root_counts_the_leaves(deep_tree):
    table = deep_tree.leaf_of_id(deep_tree.root.name)
    assert table[[0, 3, 5, 17, 41, 90, 200]].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert np.count_nonzero(table == 255) == 256 - 7


def test_an_expert_names_the_leaves_below_it_in_the_order_of_their_ids(deep_tree):
    assert [leaf.id for leaf in deep_tree.leaves_of("front")] == [3, 17, 90]
    assert deep_tree.leaf_of_id("front")[[3, 17, 90, 0]].tolist() == [0, 1, 2, 255]
    skull, fore_leg = deep_tree["front"].children
    assert (skull.id, len(fore_leg.children)) == (17, 2)
    assert deep_tree.leaves_of_children("front").tolist() == [
        [False, True, False],
        [True, False, True],
    ]


def test_a_tree_gives_back_the_section_it_was_built_from(tree, deep_tree, repo_params):
    assert tree.to_dict() == repo_params["tree"]
    assert ClassTree(deep_tree.to_dict()).root == deep_tree.root


def test_a_tree_of_one_level_with_the_largest_id_is_valid():
    tree = ClassTree({"image": {"background": 0, "thing": 254}})
    assert (tree.experts, tree.depth) == (("image",), 1)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        (None, "tree: needs exactly one root"),
        ([1, 2], "tree: needs exactly one root"),
        ({}, "tree: needs exactly one root"),
        ({"a": {"x": 1, "y": 2}, "b": {"z": 3, "w": 4}}, "tree: needs exactly one root"),
        ({"a": 1}, "tree.a: the root needs children"),
        ({"a": {}}, "tree.a: an inner node needs two children or more, has 0"),
        ({"a": {"x": 1, "b": {"y": 2}}}, "tree.a.b: an inner node needs two children or more"),
        ({"a": {"x": 1, "y": 255}}, "tree.a.y: 255 is no leaf id"),
        ({"a": {"x": 1, "y": -1}}, "tree.a.y: -1 is no leaf id"),
        ({"a": {"x": 1, "y": 2.0}}, "tree.a.y: 2.0 is no leaf id"),
        ({"a": {"x": 1, "y": True}}, "tree.a.y: True is no leaf id"),
        ({"a": {"x": 1, "y": None}}, "tree.a.y: None is no leaf id"),
        ({"a": {"x": 1, "y": [2]}}, "tree.a.y: [2] is no leaf id"),
        ({"a": {"x": 1, "y": 1}}, "tree.a.y: id 1 is already used at tree.a.x"),
        ({"a": {"x": 1, "b": {"x": 2, "y": 3}}}, "tree.a.b.x: the name 'x' is already used"),
        ({"a": {"x": 1, "a": 2}}, "tree.a.a: the name 'a' is already used at tree.a"),
        ({"a": {"x": 1, "up leg": {"y": 2, "z": 3}}}, "tree.a.up leg: 'up leg' is no name"),
        ({"a": {"x": 1, "../y": 2}}, "tree.a.../y: '../y' is no name"),
        ({"a": {"x": 1, 7: 2}}, "tree.a.7: 7 is no name"),
        ({"a": {"x": 1, "b": {"y": 0, "z": 3}}}, "tree.a.b.y: id 0 is the background"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place_and_value(section, problem):
    [found] = tree_problems(section)
    assert found.startswith(problem)
    with pytest.raises(ValueError, match="tree"):
        ClassTree(section)


def test_all_problems_of_a_tree_come_at_once():
    with pytest.raises(ValueError) as error:
        ClassTree({"a": {"x": 300, "b": {"y": 2}, "c": {"z": 2, "x": 4}}})
    places = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert places == ["tree.a.x", "tree.a.b", "tree.a.c.z", "tree.a.c.x"]


def test_the_flat_tree_has_all_leaves_below_its_root(deep_tree):
    flat = deep_tree.flat()
    assert flat.experts == (deep_tree.root.name,)
    assert flat.leaves == deep_tree.leaves
    assert [child.id for child in flat.root.children] == [leaf.id for leaf in deep_tree.leaves]


def test_questions_about_a_large_tree_do_not_search_it(monkeypatch):
    leaves = {f"leaf_{i}": i for i in range(1, 241)}
    tree = ClassTree({"image": {"background": 0, "all": leaves}})
    monkeypatch.setattr(Node, "walk", None)  # would be called once for each leaf and question
    assert len(tree.level(1)) == 240 and tree.depth == 2
    assert tree.parent("leaf_7").name == "all"


@pytest.mark.parametrize("name", ["Upper-clothes", "left leg", "нога", "头", "arm (left)", "x"])
def test_leaves_may_be_called_in_any_script(name):
    first, _ = ClassTree({"a": {name: 1, "other": 2}}).leaves
    assert first.name == name


@pytest.mark.parametrize("name", ["", " x", "x ", "a/b", "a\\b", "a:b", "a\nb", "_x", "-x"])
def test_names_that_break_files_or_lists_are_refused(name):
    assert tree_problems({"a": {name: 1, "other": 2}})
