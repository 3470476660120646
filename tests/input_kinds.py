"""Files of every kind that strangers send, and what comes of them: the table in docs/predict.md.

python tests/input_kinds.py     makes them, runs predict on them, writes the table anew
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from drawn_files import (
    encoded,
    frames,
    gray16,
    of_bytes,
    of_video,
    photograph,
    png,
    rgb16,
    sound,
    transparent,
    turned,
    turned_video,
    video,
)
from PIL import Image
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from final_model_stage import predict  # noqa: E402
from final_model_stage.segmenter import Segmenter  # noqa: E402
from final_model_stage.settings import ExpertSettings, Settings  # noqa: E402
from preprocessing_stage.class_tree import ClassTree  # noqa: E402
from train_stage.model import Expert  # noqa: E402
from train_stage.params import ModelParams  # noqa: E402

torch.set_num_threads(1)

DOCS = ROOT / "docs/predict.md"
BEGIN, END = "<!-- tests/input_kinds.py -->\n", "<!-- end -->\n"
TREE = ClassTree({"person": {"background": 0, "body": {"upper": {"hand": 1, "head": 4}, "leg": 3}}})


def tiny_segmenter(
    mode: str = "hard", passes: int = 1, tree: ClassTree = TREE, looks: bool = False
) -> Segmenter:
    """Of random weights, such that every class gets some pixels of a random picture.

    looks: second look and mirror.
    """
    torch.manual_seed(0)
    size = {"base_channels": 8, "max_channels": 16, "depth": 2, "stem_stride": 1}
    model = ModelParams(encoder="unet", initial_pool=1, norm="layer", dropout=0.5, **size)
    experts = {name: Expert(model, len(tree.leaves_of(name))) for name in tree.experts}
    picture = torch.tensor(np.asarray(photograph((16, 16)))).permute(2, 0, 1)[None] / 255
    for expert in experts.values():
        expert.eval()
        nn.init.normal_(expert.head.weight)
        with torch.no_grad():
            expert.head.bias -= expert(picture, torch.ones(1, 1, 16, 16)).mean((0, 2, 3))
        for weights in expert.parameters():
            weights.data = weights.data.half().float()  # as it is saved
    one = ExpertSettings(input_size=16, box_margin=0.1, model=model)
    settings = Settings(
        tree=tree.to_dict(),
        longest_side=32,
        mode=mode,
        passes=passes,
        second_look=looks,
        mirror=looks,
        seed=0,
        experts=dict.fromkeys(tree.experts, one),
    )
    return Segmenter(settings, experts, precision="32-true", device="cpu")


JPEG = encoded(photograph(), "JPEG", quality=95)
PNG = encoded(photograph(), "PNG")
KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    name: (what, write)
    for name, what, write in [
        ("photo.jpg", "JPEG", of_bytes(lambda: JPEG)),
        (
            "progressive.jpg",
            "JPEG, progressive",
            of_bytes(lambda: encoded(photograph(), "JPEG", progressive=True)),
        ),
        ("turned.jpg", "JPEG 60 x 40 that EXIF turns by 90 degrees", of_bytes(lambda: turned(6))),
        (
            "exif.jpg",
            "JPEG with damaged EXIF",
            of_bytes(lambda: encoded(photograph(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")),
        ),
        ("gray.jpg", "JPEG, gray", of_bytes(lambda: encoded(photograph().convert("L"), "JPEG"))),
        ("cmyk.jpg", "JPEG, CMYK", of_bytes(lambda: encoded(photograph().convert("CMYK"), "JPEG"))),
        (
            "mpo.jpg",
            "two pictures in one (MPO)",
            of_bytes(lambda: encoded(photograph(), "MPO", **frames(photograph()))),
        ),
        ("photo.png", "PNG", of_bytes(lambda: PNG)),
        ("alpha.png", "PNG with transparency", of_bytes(lambda: encoded(transparent(), "PNG"))),
        (
            "gray_alpha.png",
            "PNG, gray with transparency",
            of_bytes(lambda: encoded(transparent().convert("LA"), "PNG")),
        ),
        (
            "palette.png",
            "PNG with a palette",
            of_bytes(lambda: encoded(photograph().quantize(64), "PNG")),
        ),
        (
            "palette_alpha.png",
            "PNG with a palette and transparency",
            of_bytes(lambda: encoded(transparent().quantize(64), "PNG")),
        ),
        (
            "bilevel.png",
            "PNG, black and white",
            of_bytes(lambda: encoded(photograph().convert("1"), "PNG")),
        ),
        ("gray16.png", "PNG, gray of 16 bits", of_bytes(lambda: encoded(gray16(), "PNG"))),
        ("rgb16.png", "PNG, RGB of 16 bits", of_bytes(rgb16)),
        (
            "moving.gif",
            "GIF that moves",
            of_bytes(lambda: encoded(photograph(), "GIF", **frames(photograph()))),
        ),
        (
            "moving.webp",
            "WebP that moves",
            of_bytes(lambda: encoded(photograph(), "WEBP", **frames(photograph()))),
        ),
        (
            "alpha.webp",
            "WebP with transparency",
            of_bytes(lambda: encoded(transparent(), "WEBP", lossless=True)),
        ),
        ("photo.avif", "AVIF", of_bytes(lambda: encoded(photograph(), "AVIF"))),
        ("photo.jp2", "JPEG 2000", of_bytes(lambda: encoded(photograph(), "JPEG2000"))),
        ("photo.bmp", "BMP", of_bytes(lambda: encoded(photograph(), "BMP"))),
        ("photo.ppm", "PPM", of_bytes(lambda: encoded(photograph(), "PPM"))),
        (
            "lzw.tif",
            "TIFF, LZW, two pages",
            of_bytes(
                lambda: encoded(
                    photograph(), "TIFF", compression="tiff_lzw", **frames(photograph())
                )
            ),
        ),
        ("gray16.tif", "TIFF, gray of 16 bits", of_bytes(lambda: encoded(gray16(), "TIFF"))),
        ("cmyk.tif", "TIFF, CMYK", of_bytes(lambda: encoded(photograph().convert("CMYK"), "TIFF"))),
        (
            "float.tif",
            "TIFF, gray of 32-bit floats",
            of_bytes(lambda: encoded(photograph().convert("F"), "TIFF")),
        ),
        (
            "lab.tif",
            "TIFF, L*a*b*",
            of_bytes(lambda: encoded(Image.new("LAB", (60, 40), (50, 9, 9)), "TIFF")),
        ),
        ("png.jpg", "PNG that is called .jpg", of_bytes(lambda: PNG)),
        ("dot.png", "1 x 1", of_bytes(lambda: encoded(photograph((1, 1)), "PNG"))),
        ("wide.png", "30,000 x 3", of_bytes(lambda: encoded(photograph((3, 30000)), "PNG"))),
        ("tall.png", "2 x 20,000", of_bytes(lambda: encoded(photograph((20000, 2)), "PNG"))),
        (
            "large.jpg",
            "JPEG of 54 megapixels",
            of_bytes(lambda: encoded(photograph((6000, 9000)), "JPEG", quality=60)),
        ),
        (
            "bomb.png",
            "PNG that claims 900 megapixels",
            of_bytes(lambda: png(30000, 30000, 8, 2, b"\0" * 99)),
        ),
        ("half.jpg", "half of a JPEG", of_bytes(lambda: JPEG[: len(JPEG) // 2])),
        ("half.png", "half of a PNG", of_bytes(lambda: PNG[: len(PNG) // 2])),
        ("empty.jpg", "no content", of_bytes(lambda: b"")),
        ("text.jpg", "text", of_bytes(lambda: b"not found\n")),
        (
            "program.jpg",
            "PostScript, a program",
            of_bytes(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
        ),
        (
            "drawing.svg.png",
            "SVG, called .png",
            of_bytes(lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ),
        (
            "phone.heic.jpg",
            "HEIC, called .jpg",
            of_bytes(lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40),
        ),
        ("clip.mp4", "H.264 video", video),
        ("turned.mp4", "the same, to be turned by 90 degrees", turned_video),
        (
            "odd.mov",
            "video of 67 x 51 in QuickTime",
            lambda path: video(path, size=(51, 67), codec="png"),
        ),
        ("half.mp4", "half of a video", of_video(video, 0.5)),
        ("sound.mp4", "sound only", sound),
        (
            "list.mp4",
            "playlist, called .mp4",
            of_bytes(lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"),
        ),
    ]
}


def make_all(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, write) in KINDS.items():
        write(folder / name)


def run_predict(folder: Path, out: Path, *options: str) -> tuple[int, dict[str, dict]]:
    """Exit code, and the index by the sources' file names."""
    code = 0
    try:
        predict.main([str(folder), "--out", str(out), *options])
    except SystemExit as stop:
        code = int(stop.code or 0)
    lines = map(json.loads, (out / "index.jsonl").read_text().splitlines())
    return code, {Path(entry["source"]).name: entry for entry in lines}


def table(entries: dict[str, dict]) -> str:
    """Markdown, from the index of a run on all kinds."""
    rows = ["| input | result |", "|---|---|"]
    for name, (what, _) in KINDS.items():
        entry = entries[name]
        if "error" in entry:
            result = f"skipped: {entry['error']}"
        elif "frames" in entry:
            result = f"video {entry['width']} x {entry['height']}, {entry['frames']} frames"
        else:
            result = f"label map {entry['width']} x {entry['height']}"
        rows.append(f"| {what} | {result} |")
    return "\n".join(rows) + "\n"


def written_table() -> str:
    return DOCS.read_text().partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_all(folder / "in")
        tiny_segmenter().save(folder / "segmenter")
        _, entries = run_predict(
            folder / "in", folder / "out", "--segmenter", str(folder / "segmenter")
        )
    DOCS.write_text(DOCS.read_text().replace(written_table(), table(entries)))


if __name__ == "__main__":
    main()
