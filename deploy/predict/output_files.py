"""The output files of each source.

DIR/<name>.png                  leaf ids at the size of the image; a palette PNG
DIR/level_<k>/<name>.png        classes of a level, numbered from 1 in its order, 0 = background
DIR/overlay/<name>.jpg          the image with its classes coloured and outlined
DIR/probabilities/<name>.npz    float16 `probabilities` (leaves, h, w), `ids` and `names`
DIR/uncertainty/<name>.png      entropy of the probabilities, from 0 = certain to 255 = uniform
DIR/instances/<name>.png        numbers of the connected people, 16 bits; 0 = background
DIR/cutout/<name>.png           the image with the background transparent
DIR/mask_<class>/<name>.png     255 where a class is, else 0

Of a video, instead:
DIR/<name>.mp4                  its frames, coloured and outlined
DIR/cutout/<name>.mov           the frames with the background transparent
DIR/mask_<class>/<name>.mp4     white where a class is, else black
DIR/frames/<name>/%06d.png      leaf ids of frame 1, 2, ... at the size of the video

Palette PNGs carry their classes as JSON, id -> name, in the text chunk `classes`. Overlays,
probabilities and cut-outs are as large as the copy that is predicted: see DecodedImage.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deploy.people import Person, number_people, people, scipy_ndimage
from deploy.predict.frame_files import FRAME
from final_model_stage.image_reader import DecodedImage
from final_model_stage.segmentation import Segmentation
from preprocessing_stage.dataset.atomic_write import atomic_write
from preprocessing_stage.dataset.class_tree import BACKGROUND, ClassTree
from preprocessing_stage.dataset.shrink import nearest, shrink
from preprocessing_stage.drawing.overlay import overlay
from preprocessing_stage.drawing.palette import class_colours, palette

MAX_JPEG_SIDE = 65_500


@dataclass(frozen=True)
class Wanted:
    """What is written in addition to the label maps, and how images are predicted."""

    levels: tuple[int, ...] = ()
    overlay: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    cutout: bool = False
    instances: bool = False
    masks: tuple[str, ...] = ()
    """Classes of any level."""
    frames: bool = False
    """Label maps of the frames of videos."""
    tiles: bool = False
    any_turn: bool = False

    @property
    def details(self) -> bool:
        """Whether more than the labels has to be computed."""
        return self.probabilities or self.uncertainty or self.cutout

    @property
    def variant(self) -> str:
        """What the index adds to the segmenter's digest: it makes other predictions so."""
        return "+tiles" * self.tiles + "+any-turn" * self.any_turn


class PredictionFiles:
    """Writes into a folder, from any number of threads."""

    def __init__(self, out: Path, tree: ClassTree, wanted: Wanted) -> None:
        """Raises ValueError for a level or class that the tree does not have, ImportError if what
        is wanted needs a package that is not there."""
        if wanted.instances:
            scipy_ndimage()
        classes = [node.name for node in tree.root.walk() if node is not tree.root]
        for name in wanted.masks:
            if name not in classes:
                raise ValueError(f"--mask {name}: this segmenter has {', '.join(classes)}")
        for level in wanted.levels:
            if not 0 <= level < tree.depth:
                raise ValueError(
                    f"--level {level}: this segmenter has levels 0 to {tree.depth - 1}"
                )
        self.out, self.tree, self.wanted = out, tree, wanted

    def paths(self, name: str) -> dict[str, Path]:
        """Kind of file -> its path, for all files of an image."""
        wanted = self.wanted
        paths = {"labels": self.out / f"{name}.png"}
        paths |= {f"level_{k}": self.out / f"level_{k}" / f"{name}.png" for k in wanted.levels}
        if wanted.overlay:
            paths["overlay"] = self.out / "overlay" / f"{name}.jpg"
        if wanted.probabilities:
            paths["probabilities"] = self.out / "probabilities" / f"{name}.npz"
        if wanted.uncertainty:
            paths["uncertainty"] = self.out / "uncertainty" / f"{name}.png"
        if wanted.cutout:
            paths["cutout"] = self.out / "cutout" / f"{name}.png"
        if wanted.instances:
            paths["instances"] = self.out / "instances" / f"{name}.png"
        paths |= {f"mask {c}": self.out / f"mask_{c}" / f"{name}.png" for c in wanted.masks}
        return paths

    def video_paths(self, name: str) -> dict[str, Path]:
        """Kind of file -> its path, for all files of a video; `frames` is the pattern of many."""
        paths = {"overlay": self.out / f"{name}.mp4"}
        if self.wanted.cutout:
            paths["cutout"] = self.out / "cutout" / f"{name}.mov"
        paths |= {f"mask {c}": self.out / f"mask_{c}" / f"{name}.mp4" for c in self.wanted.masks}
        if self.wanted.frames:
            paths["frames"] = self.out / "frames" / name / FRAME
        return paths

    def write_labels(self, path: Path, labels: np.ndarray) -> None:
        """labels: (H, W) uint8 leaf ids."""
        path.parent.mkdir(parents=True, exist_ok=True)
        _save_map(path, labels, palette(self.tree), self.tree.leaf_names)

    def write(
        self, name: str, image: DecodedImage, labels: np.ndarray, details: Segmentation | None
    ) -> dict[str, int]:
        """Write all files of an image. Returns the number of pixels of each class.

        labels: (h, w) uint8 leaf ids of `image.image`. details: None unless `wanted.details`.
        """
        paths = self.paths(name)
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        full = nearest(labels, image.size)
        self.write_labels(paths["labels"], full)
        for k in self.wanted.levels:
            table, colours, classes = _level(self.tree, k)
            _save_map(paths[f"level_{k}"], table[full], colours, classes)
        for node in self.wanted.masks:
            inside = np.isin(full, self.tree.ids(node)).astype(np.uint8) * 255
            _save_png(paths[f"mask {node}"], inside)
        if self.wanted.overlay:
            covered = shrink(overlay(image.image, labels, palette(self.tree)), MAX_JPEG_SIDE)
            with atomic_write(paths["overlay"], "wb") as file:
                Image.fromarray(covered).save(file, "JPEG", quality=90)
        if details is not None:
            self._write_details(paths, image, details)
        return areas(full, self.tree)

    def write_instances(self, name: str, image: DecodedImage, labels: np.ndarray) -> list[Person]:
        """Number the people of an image, largest first, and write the map.

        labels: (h, w) uint8 leaf ids of `image.image`.
        """
        numbers = nearest(number_people(labels), image.size)
        _save_png(self.paths(name)["instances"], numbers)
        return people(numbers)

    def _write_details(
        self, paths: dict[str, Path], image: DecodedImage, details: Segmentation
    ) -> None:
        """What the probabilities are needed for."""
        if self.wanted.probabilities:
            values = details.leaf_probabilities.astype(np.float16)
            leaves = self.tree.leaf_names
            with atomic_write(paths["probabilities"], "wb") as file:
                np.savez_compressed(
                    file, probabilities=values, ids=list(leaves), names=list(leaves.values())
                )
        if self.wanted.uncertainty:
            gray = (details.uncertainty * 255).round().clip(0, 255).astype(np.uint8)
            _save_png(paths["uncertainty"], _bilinear(gray, image.size))
        if self.wanted.cutout:
            _save_png(paths["cutout"], np.dstack([image.image, alpha(details)]))


def alpha(details: Segmentation) -> np.ndarray:
    """Opacity (h, w) uint8 of the foreground: a ramp over its probabilities of .25 to .75."""
    background = [row for row, i in enumerate(details.tree.leaf_names) if i == BACKGROUND]
    foreground = 1 - details.leaf_probabilities[background].sum(0)
    opacity: np.ndarray = ((foreground - 0.25) * 2).clip(0, 1)
    return (opacity * 255).round().astype(np.uint8)


def areas(labels: np.ndarray, tree: ClassTree) -> dict[str, int]:
    """Pixels of each class, inner nodes included except the root. labels: (H, W) uint8 leaf ids."""
    counts = np.bincount(labels.ravel(), minlength=256)
    nodes = [node for node in tree.root.walk() if node is not tree.root]
    return {node.name: int(counts[list(tree.ids(node.name))].sum()) for node in nodes}


def _level(tree: ClassTree, k: int) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Of a level: class number of each leaf id (256,) uint8, palette (256, 3) uint8, names."""
    nodes = tree.level(k)
    table, colours = np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8)
    for number, node in enumerate(nodes, 1):
        table[list(tree.ids(node.name))] = number
        colours[number] = class_colours(tree)[node.name]
    return (
        table,
        colours,
        {0: tree.leaf_names.get(BACKGROUND, "background")}
        | {number: node.name for number, node in enumerate(nodes, 1)},
    )


def _bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 -> (*size) uint8."""
    if values.shape == size:
        return values
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR))


def _save_png(path: Path, values: np.ndarray) -> None:
    """(H, W) of uint8 or uint16, or (H, W, 4) uint8."""
    with atomic_write(path, "wb") as file:
        Image.fromarray(values).save(file, "PNG")


def _save_map(path: Path, ids: np.ndarray, colours: np.ndarray, names: dict[int, str]) -> None:
    """ids (H, W) uint8 as a palette PNG with `colours` (256, 3) uint8."""
    image = Image.fromarray(ids)
    image.putpalette(colours.tobytes())
    text = PngInfo()
    text.add_text("classes", json.dumps(names))
    with atomic_write(path, "wb") as file:
        image.save(file, "PNG", pnginfo=text)
