"""Overlays, sheets and figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from drawings import TREE, bands, photograph, pixels, row, words
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from final_model_stage import render
from final_model_stage.reporting.figures import Row, overlay, panel_figure, save
from preprocessing_stage.dataset.class_tree import ClassTree
from preprocessing_stage.dataset.dataset_folder import read_image
from preprocessing_stage.drawing.palette import class_colours, level_palette, palette

# --- overlay ---------------------------------------------------------------------------------


def test_overlay_colours_each_class_so_that_the_legend_tells_it() -> None:
    gray = np.full((30, 40, 3), 128, np.uint8)
    picture = overlay(gray, bands(), palette(TREE))
    assert picture.shape == (30, 40, 3) and picture.dtype == np.uint8
    colours = class_colours(TREE)
    for leaf, column in (("cap", 15), ("stem_a", 25), ("foot", 35)):
        seen = picture[15, column].astype(int)
        nearest = min(colours, key=lambda name: np.abs(seen - colours[name]).sum())
        assert nearest == leaf


def test_overlay_leaves_the_background_recognisable_but_paler() -> None:
    image = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    picture = overlay(image, np.zeros((8, 8), np.uint8), palette(TREE)).astype(int)
    red, green, blue = picture[4, 4]
    assert red > green == blue  # still reddish
    assert red - green < 200 - 40  # but less so
    assert (picture == picture[4, 4]).all()  # nothing drawn on it


def test_overlay_outlines_classes_of_the_level_only() -> None:
    gray = np.full((30, 40, 3), 128, np.uint8)

    def darker(level: int, column: int) -> bool:
        picture = overlay(gray, bands(), level_palette(TREE, level)).astype(int)
        return bool(picture[15, column].sum() < 0.6 * picture[15, 15].sum())

    assert darker(0, 10) and darker(1, 10) and darker(2, 10)  # background | cap
    assert [darker(k, 19) for k in range(3)] == [False, False, True]  # cap | stem_a
    assert [darker(k, 29) for k in range(3)] == [False, True, True]  # stem_a | foot
    assert not any(darker(k, 9) for k in range(3))  # the background keeps its pixels


def test_overlay_hatches_ignored_pixels() -> None:
    gray = np.full((30, 40, 3), 128, np.uint8)
    ignored = overlay(gray, bands(ignored=True), palette(TREE))[:, :9]
    values = np.unique(ignored)
    assert len(values) == 2 and values[1] > 150  # gray stripes on light gray
    assert (ignored[..., 0] == ignored[..., 1]).all()


def test_opacity_goes_from_photograph_to_colour() -> None:
    image, labels, table = photograph(), bands(), palette(TREE)
    inside = np.s_[5:25, 12:18]
    assert (overlay(image, labels, table, 1.0)[inside] == class_colours(TREE)["cap"]).all()
    assert (overlay(image, labels, table, 0.0)[inside].std(axis=2) < 1).all()  # gray


def test_nothing_handed_in_is_changed() -> None:
    image, labels, table = photograph(), bands(ignored=True), palette(TREE)
    table.flags.writeable = False
    before = image.copy(), labels.copy(), table.copy()
    overlay(image, labels, table)
    panel_figure([Row("one", image, bands(), labels)], TREE)
    for now, then in zip((image, labels, table), before, strict=True):
        np.testing.assert_array_equal(now, then)


# --- sheets ----------------------------------------------------------------------------------


def test_sheet_has_a_column_for_each_level_and_for_truth() -> None:
    known, unknown = panel_figure([row()], TREE), panel_figure([row(truth=False)], TREE)
    levels = ["level 0", "level 1", "level 2"]
    assert words(known)[:6] == ["photograph", "truth", *levels, "prediction"]
    assert words(unknown)[:5] == ["photograph", *levels, "prediction"]
    assert [len(figure.axes[0].images) for figure in (known, unknown)] == [5, 4]
    assert known.get_figwidth() > unknown.get_figwidth()


def test_sheet_shows_truth_and_prediction_at_their_levels() -> None:
    """What is seen in the middle of each picture is the class there, at the column's level."""
    image = np.full((30, 40, 3), 128, np.uint8)
    nothing, foot = np.zeros((30, 40), np.uint8), np.full((30, 40), 7, np.uint8)
    cap = np.full((30, 40), 1, np.uint8)
    figure = panel_figure([Row("one", image, cap, foot)], TREE)
    photo, *seen = (np.asarray(picture.get_array())[99, 99] for picture in figure.axes[0].images)
    expected = [(foot, 2), (cap, 0), (cap, 1), (cap, 2)]
    for pixel, (labels, level) in zip(seen, expected, strict=True):
        assert tuple(pixel) == tuple(overlay(image, labels, level_palette(TREE, level))[15, 20])
    assert tuple(photo) == (128, 128, 128)
    assert tuple(overlay(image, nothing, palette(TREE))[15, 20]) != tuple(seen[0])


def test_sheet_says_where_truth_is_missing() -> None:
    figure = panel_figure([row("known"), row("unknown", truth=False)], TREE)
    assert words(figure).count("no truth") == 1
    assert len(figure.axes[0].images) == 9


def test_sheet_grows_with_its_rows_and_keeps_their_shapes() -> None:
    one, two = panel_figure([row()], TREE), panel_figure([row(), row("two")], TREE)
    assert two.get_figwidth() == one.get_figwidth()
    assert two.get_figheight() > one.get_figheight() + 1.5
    first, second = (two.axes[0].images[i].get_extent() for i in (0, 5))
    assert second[:2] == first[:2] and second[3] > first[2]  # below, not upon each other
    tall = Row("tall", photograph(size=(60, 20)), np.zeros((60, 20), np.uint8))
    left, right, bottom, top = panel_figure([tall], TREE).axes[0].images[0].get_extent()
    assert (bottom - top) / (right - left) == pytest.approx(3)


def test_legend_has_every_class_in_its_colour(tmp_path: Path) -> None:
    figure = panel_figure([row()], TREE)
    assert {"thing", "top", "cap", "stem a", "foot"} <= set(words(figure))
    assert "ignored" not in words(figure)
    picture = pixels(figure, tmp_path / "sheet.png")
    assert picture.shape[:2] == tuple(
        int(inches * 80) for inches in (figure.get_figheight(), figure.get_figwidth())
    )
    seen = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    shown = [node.name for k in range(TREE.depth) for node in TREE.level(k)]
    assert {class_colours(TREE)[name] for name in shown} <= seen


def test_legend_explains_ignored_pixels_where_there_are_some() -> None:
    assert "ignored" in words(panel_figure([row(ignored=True)], TREE))


def test_sheet_works_for_flat_trees_and_odd_names(tmp_path: Path) -> None:
    flat = ClassTree({"r": {"background": 0, "it": 1}})
    name = "a $_^$ name " + 80 * "x"
    figure = panel_figure([Row(name, photograph(), np.ones((30, 40), np.uint8))], flat)
    assert pixels(figure, tmp_path / "flat.png").std() > 0
    [shown] = [text for text in words(figure) if text.startswith("a $_^$")]
    assert len(shown) <= 40


def test_sheet_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="one image or more"):
        panel_figure([], TREE)


def test_the_same_sheet_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(panel_figure([row()], TREE, "title"), tmp_path / f"{name}.png", 80)
    first, second = ((tmp_path / f"{name}.png").read_bytes() for name in ("a", "b"))
    assert first == second
    assert b"Software" not in first


def test_fewer_levels_make_a_smaller_file_of_nearly_the_same_colours(tmp_path: Path) -> None:
    figure = panel_figure([row()], TREE)
    save(figure, tmp_path / "all.png", 80, levels=256)
    save(figure, tmp_path / "some.png", 80)
    every, some = (read_image(tmp_path / f"{name}.png").astype(int) for name in ("all", "some"))
    assert np.abs(every - some).max() <= 2
    assert (some[0, 0] == 255).all()  # white stays white
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("all", "some")]
    assert sizes[1] < 0.9 * sizes[0]


# --- figures ---------------------------------------------------------------------------------


def test_a_huge_figure_is_saved_with_fewer_dots(tmp_path: Path) -> None:
    save(Figure(figsize=(200, 1)), tmp_path / "wide.png", 150)
    with Image.open(tmp_path / "wide.png") as picture:
        assert picture.size == (10_000, 50)


def test_class_iou_figure_shows_the_numbers() -> None:
    figures = {
        "iou": {"thing": 0.9, "top": 0.8, "foot": 0.7, "cap": 0.04, "stem_a": None},
        "interval": {f"mIoU_{k}": {"low": 0.5 - k / 10, "high": 0.6} for k in range(3)},
        **{"mIoU_0": 0.9, "mIoU_1": 0.75, "mIoU_2": 0.37},
    }
    figure = render.class_iou_figure(figures, TREE)
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    np.testing.assert_array_equal(
        [bar.get_height() for bar in bars], [0.9, 0.8, 0.7, 0.04, math.nan, 0.7]
    )
    shown = words(figure)
    labels = ["0.90", "0.80", "0.70", "0.04", "\u2013", "0.70"]
    assert [text for text in shown if len(text) in (1, 4)] == labels
    assert "mIoU₁ 0.750" in shown and "[0.400, 0.600]" in shown
    names = ["thing", "top", "foot", "cap", "stem_a", "foot"]
    colours = ["#{:02x}{:02x}{:02x}".format(*class_colours(TREE)[name]) for name in names]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == colours


def test_confusion_figure_normalises_rows() -> None:
    names = ["background", "cap", "stem_a", "foot"]
    counts = np.array([[500, 0, 0, 0], [0, 15, 0, 5], [0, 0, 0, 0], [10, 0, 0, 30]])
    counts.flags.writeable = False
    figure = render.confusion_figure(counts, names, TREE)
    axes = figure.axes[0]
    order = ["background", "cap", "stem a", "foot"]
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    assert [label.get_text() for label in axes.get_xticklabels()] == order
    table = np.array(words(figure)).reshape(4, 4).tolist()
    assert table == [
        ["100", "0", "0", "0"],
        ["0", "75", "0", "25"],
        ["-", "-", "-", "-"],
        ["25", "0", "0", "75"],
    ]


def test_best_and_worst_leave_out_small_people_and_undefined_figures() -> None:
    rows = [
        {"id": sample, "foreground_share": share, "mIoU_2": figure}
        for sample, share, figure in (
            *(("a", "0.5", "0.9"), ("b", "0.5", "0.1"), ("c", "0.02", "0.99"), ("d", "0.3", "nan")),
            *(("e", "0.1", "0.5"), ("f", "0.1", "0.6"), ("g", "0.1", "0.7"), ("h", "0.1", "0.8")),
        )
    ]
    assert render.extremes(rows, "mIoU_2") == (["a", "h", "g", "f"], ["b", "e", "f", "g"])


def test_a_sheet_as_jpeg_is_small_and_repeats_its_bytes(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.png"):
        save(panel_figure([row()], TREE, "title"), tmp_path / name, 80)
    one, other, png = ((tmp_path / name).read_bytes() for name in ("a.jpg", "b.jpg", "c.png"))
    assert one == other and one.startswith(b"\xff\xd8\xff") and png.startswith(b"\x89PNG")


def test_many_classes_have_colours_of_their_own() -> None:
    tree = ClassTree({"scene": {"background": 0} | {f"class_{i}": i for i in range(1, 61)}})
    colours = palette(tree)[:61].astype(int)
    apart = np.abs(colours[:, None] - colours).sum(2)[~np.eye(61, dtype=bool)]
    assert apart.min() > 20
