"""One command for a folder as people have them: telephone, camera, film, panorama."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from drawn_files import encoded, photograph, transparent, turned
from drawn_sound import click, with_sound
from PIL import Image
from predict_runs import index, outputs, run
from tiny_segmenter import TREE, tiny_segmenter

from deploy.predict.output_files import alpha
from final_model_stage.image_reader import decode_image
from preprocessing_stage.dataset.dataset_folder import read_labels


@pytest.mark.slow
def test_a_folder_of_everything(place: Path) -> None:
    Path("in").mkdir()
    photograph((40, 60), 1).save("in/phone.heic", "HEIF", quality=-1)
    Path("in/turned.jpg").write_bytes(turned(6))
    Path("in/logo.png").write_bytes(encoded(transparent(), "PNG"))
    photograph((1000, 12_000)).save("in/panorama.jpg", quality=80)
    with_sound(Path("in/film.mp4"))
    assert run("in", "--tiles", "--any-turn", "--cutout", "--mask", "body", "--frames") == 0

    assert {name: (entry["width"], entry["height"]) for name, entry in index().items()} == {
        "phone": (60, 40),
        "turned": (40, 60),
        "logo": (60, 40),
        "panorama": (12_000, 1000),
        "film": (64, 48),
    }
    pictures = ("phone", "turned", "logo", "panorama")
    assert outputs() == {
        *("index.jsonl", "film.mp4", "cutout/film.mov", "mask_body/film.mp4"),
        *(f"frames/film/{number:06d}.png" for number in range(1, 13)),
        *(f"{folder}{name}.png" for name in pictures for folder in ("", "cutout/", "mask_body/")),
    }
    for name, entry in index().items():
        assert entry["areas"]["body"] > 0 and "notes" not in entry, name
    for name in pictures:
        labels = read_labels(f"out/{name}.png")
        with Image.open(f"out/mask_body/{name}.png") as mask:
            inside = np.isin(labels, TREE.ids("body"))
            np.testing.assert_array_equal(np.asarray(mask), inside * 255)

    # The photograph that EXIF turns, as its owner sees it.
    with Image.open("out/cutout/turned.png") as picture:
        seen = np.asarray(picture)[..., :3].astype(int)
    assert np.abs(seen - np.rot90(np.asarray(photograph()), -1)).mean() < 6
    # A transparent picture on white.
    logo = decode_image(Path("in/logo.png")).image
    assert (logo[:, :30] == 255).all()
    assert (np.asarray(Image.open("out/cutout/logo.png"))[..., :3] == logo).all()
    assert click(Path("out/film.mp4")) == pytest.approx(0.5, abs=0.002)
    with av.open("out/cutout/film.mov") as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgba")
    expected = alpha(tiny_segmenter().segment(_first_frame("in/film.mp4")))
    assert np.abs(first[..., 3].astype(int) - expected).max() <= 2


def _first_frame(path: str) -> np.ndarray:
    with av.open(path) as container:
        frame: np.ndarray = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return frame
