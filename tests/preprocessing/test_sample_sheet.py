"""The sheet shows each sample above the same sample with its labels, and a legend."""

import numpy as np

from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.drawing.palette import class_colours
from preprocessing_stage.sample_sheet import sample_sheet

TREE = ClassTree({"root": {"background": 0, "thing": {"top": 1, "foot": 2}}})


def test_each_sample_stands_above_its_labels_in_its_proportions():
    image, labels = np.full((40, 20, 3), 90, np.uint8), np.zeros((40, 20), np.uint8)
    labels[20:] = 1
    sheet = np.asarray(sample_sheet([(image, labels)] * 9, TREE)).astype(int)
    tile = 4 + 192
    middle = 4 + 192 // 2
    for row, column in ((0, 0), (0, 7), (2, 0)):  # nine samples, eight in a row
        photo = sheet[row * tile :][:tile, column * tile :][:, :tile]
        covered = sheet[(row + 1) * tile :][:tile, column * tile :][:, :tile]
        assert (photo[10:190, middle] == 90).all()
        assert (photo[middle, :40] == 255).all()  # half as wide as high, centred
        distance = np.abs(covered[150, middle] - class_colours(TREE)["top"]).sum()
        assert distance < np.abs(covered[150, middle] - class_colours(TREE)["foot"]).sum()
        assert (covered[50, middle] != covered[150, middle]).any()
    assert (sheet[2 * tile + 10 : 4 * tile - 10, tile + 10 : -10] == 255).all()  # none left over


def test_the_legend_has_the_colour_of_every_leaf_but_the_background():
    blank = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8), np.uint8)
    legend = np.asarray(sample_sheet([blank], TREE))[-34:].reshape(-1, 3)
    colours = class_colours(TREE)
    for name in ("top", "foot"):
        assert (legend == colours[name]).all(axis=1).any(), name
    assert not (legend == colours["background"]).all(axis=1).any()


def test_letters_of_other_scripts_are_written():
    blank = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8), np.uint8)
    first, second = (
        np.asarray(sample_sheet([blank], ClassTree({"root": {"background": 0, name: 1, "b": 2}})))
        for name in ("ж", "щ")
    )
    assert (first != second).any()


def test_many_classes_take_more_lines():
    tree = ClassTree({"root": {"background": 0} | {f"a_longer_name_{i}": i for i in range(1, 41)}})
    blank = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8), np.uint8)
    sheet = np.asarray(sample_sheet([blank], tree))[2 * 196 :].reshape(-1, 3)
    colours = class_colours(tree)
    for leaf in tree.leaves[1:]:
        assert (sheet == colours[leaf.name]).all(axis=1).sum() >= 17 * 17, leaf.name
