"""Images of any origin: right colours, upright, bounded, and errors that help."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from drawn_files import (
    encoded,
    gray16,
    photograph,
    png,
    rgb16,
    srgb,
    swapped_profile,
    transparent,
    turned,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from input_kinds import JPEG, KINDS, PNG, ROOT, make_all
from PIL import Image, ImageOps

from final_model_stage import image_reader as decode
from final_model_stage.image_reader import WORK_SIDE, DecodedImage, DecodeError, decode_image

RGB = np.asarray(photograph())


def difference(image: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(image.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_upright(orientation: int) -> None:
    content = turned(orientation)
    with Image.open(BytesIO(content)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    decoded = decode_image(content)
    np.testing.assert_array_equal(decoded.image, upright)
    assert decoded.size == upright.shape[:2]


def test_the_orientation_of_a_tiff_is_applied_once() -> None:
    content = encoded(photograph(), "TIFF", tiffinfo={0x0112: 6})
    decoded = decode_image(content)
    np.testing.assert_array_equal(decoded.image, np.rot90(RGB, -1))
    assert decoded.size == (60, 40)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP", "JPEG2000"])
def test_lossless_kinds_come_as_they_were(kind: str) -> None:
    content = encoded(photograph(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode_image(content).image, RGB)


def test_sixteen_bits_become_eight() -> None:
    np.testing.assert_array_equal(decode_image(rgb16()).image, RGB)
    gray = np.asarray(photograph().convert("L"))[..., None].repeat(3, axis=2)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode_image(encoded(gray16(), kind)).image, gray)


@pytest.mark.parametrize("scale", [1, 257])
def test_gray_of_32_bits_has_8_or_16_in_all_strips(
    scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gray = np.asarray(photograph().convert("L")).astype(np.int32)
    gray[:20] //= 200  # a strip that is dark in 8 and in 16 bits
    content = encoded(Image.fromarray(gray * scale), "TIFF")
    monkeypatch.setattr(decode, "_STRIP", 60)
    np.testing.assert_array_equal(decode_image(content).image[..., 0], gray)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = transparent()
    content = encoded(image.quantize(64) if mode == "P" else image.convert(mode), "PNG")
    found = decode_image(content).image
    assert (found[:, :30] == 255).all()
    assert difference(found[:, 30:], RGB[:, 30:]) < (256 if mode == "LA" else 60)
    assert (found[:, 30:].min(2) < 240).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 100, 200, 51))
    found = decode_image(encoded(image, "PNG")).image
    assert difference(found, np.array([204, 224, 244])) <= 1


def test_a_transparent_colour_of_an_rgb_png_becomes_white() -> None:
    content = encoded(Image.new("RGB", (3, 2), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    assert (decode_image(content).image == 255).all()


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P"])
def test_other_modes_look_alike(mode: str) -> None:
    image = photograph().quantize(64) if mode == "P" else photograph().convert(mode)
    found = decode_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG")).image
    assert difference(found, np.asarray(image.convert("RGB"))) < (40 if mode == "CMYK" else 1)


def test_lab_is_converted() -> None:
    white = Image.new("LAB", (8, 8), (255, 128, 128))  # L 100, a 0, b 0
    assert (decode_image(encoded(white, "TIFF")).image > 250).all()


@pytest.mark.parametrize(
    ("size", "kind"), [((3000, 4100), "JPEG"), ((3000, 4100), "PNG"), ((5, 9000), "PNG")]
)
def test_long_images_are_scaled_down(size: tuple[int, int], kind: str) -> None:
    image = photograph(size)
    decoded = decode_image(encoded(image, kind))
    assert decoded.size == size
    assert WORK_SIDE / 2 < max(decoded.image.shape) <= WORK_SIDE
    small = image.resize(decoded.image.shape[1::-1], Image.Resampling.BOX)
    assert difference(decoded.image, np.asarray(small)) < 12


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6])
def test_a_long_jpeg_is_as_large_as_another_file_of_it(factor: int) -> None:
    image = photograph((8, factor * WORK_SIDE))
    for work_pixels in (None, 8 * WORK_SIDE):
        jpeg, png = (
            decode_image(encoded(image, kind), work_pixels=work_pixels) for kind in ("JPEG", "PNG")
        )
        assert jpeg.image.shape == png.image.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pixels_may_be_bounded_instead_of_sides(kind: str) -> None:
    content = encoded(photograph((1000, 4000)), kind)
    for pixels, shape in [(4_000_000, (1000, 4000, 3)), (3_999_999, (500, 2000, 3))]:
        decoded = decode_image(content, work_pixels=pixels)
        assert decoded.image.shape == shape and decoded.size == (1000, 4000)


def test_a_jpeg_that_is_a_line_is_read() -> None:
    assert decode_image(encoded(photograph((3, 9000)), "JPEG")).size == (3, 9000)


@pytest.mark.parametrize("content", [PNG, encoded(transparent(), "PNG"), encoded(gray16(), "PNG")])
def test_strips_meet_without_a_seam(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "WORK_SIDE", 25)  # a third of 60
    whole = decode_image(content).image
    assert whole.shape == (14, 20, 3)
    monkeypatch.setattr(decode, "_STRIP", 60 * 3 * 2)
    np.testing.assert_array_equal(decode_image(content).image, whole)


def test_bombs_are_refused_by_what_they_claim() -> None:
    for width in (10_001, 30_000, 1_000_000):
        with pytest.raises(DecodeError, match=r"more than 100,000,000 pixels.*raise the limit"):
            decode_image(png(width, 10_000, 8, 2, b""))
    with pytest.raises(DecodeError, match="more than 2,399 pixels"):
        decode_image(PNG, max_pixels=2399)
    assert decode_image(PNG, max_pixels=2400).size == (40, 60)


@pytest.mark.slow
def test_the_limit_can_be_raised_above_that_of_pillow() -> None:
    content = encoded(Image.new("1", (20_000, 10_000)), "PNG")  # 200 megapixels
    with pytest.raises(DecodeError, match="pixels"):
        decode_image(content)
    assert decode_image(content, max_pixels=200_000_000).size == (10_000, 20_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_images_in_many_threads_take_the_memory_of_one(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGBA", (6000, 6000), (1, 2, 3, 4)).save(path, compress_level=1)
    script = f"""
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from final_model_stage.image_reader import decode_image
def most():  # unlike getrusage, not that of the parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before = most()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(decode_image, [Path({str(path)!r})] * 4))
print(most() - before)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 4 * 6000**2 < int(answer.stdout) < 2 * 4 * 6000**2


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, reason in [
        (tmp_path / "pipe.jpg", "not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing.jpg", "No such file"),
        (Path("a\0b"), "null"),
    ]:
        with pytest.raises(DecodeError, match=reason):
            decode_image(path)


def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("started a program")

    monkeypatch.setattr(subprocess, "Popen", never)
    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", b"%PDF-1.4\n"):
        with pytest.raises(DecodeError, match="convert it to one of AVIF"):
            decode_image(content)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Images of every kind but the large ones."""
    folder = tmp_path_factory.mktemp("kinds")
    make_all(folder)
    files = [folder / name for name in KINDS]
    return [path.read_bytes() for path in files if path.stat().st_size < 20_000]


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_files_give_an_image_or_an_error(contents, data) -> None:
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(0, 8))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.integers(0, len(content)))
    try:
        decoded = decode_image(bytes(content[:keep]), max_pixels=1_000_000)
    except DecodeError as error:
        assert str(error)
    else:
        assert isinstance(decoded, DecodedImage)
        assert decoded.image.dtype == np.uint8 and decoded.image.shape[2] == 3
        assert max(decoded.image.shape) <= WORK_SIDE
        assert decoded.size[0] * decoded.size[1] <= 1_000_000


def test_the_limits_do_not_wear_off() -> None:
    """Decoding an image with a high limit does not raise the default limit."""
    decode_image(JPEG, max_pixels=10**9)
    with pytest.raises(DecodeError, match="more than 100,000,000"):
        decode_image(png(10_001, 10_000, 8, 2, b""))


def test_colours_of_a_profile_become_srgb(tmp_path: Path) -> None:
    pixels = Image.new("RGB", (8, 8), (200, 120, 40))
    pixels.save(tmp_path / "swapped.png", icc_profile=swapped_profile())
    pixels.save(tmp_path / "srgb.png", icc_profile=srgb())
    plain = np.asarray(pixels)
    assert difference(decode_image(tmp_path / "swapped.png").image, plain[..., ::-1]) <= 3
    np.testing.assert_array_equal(decode_image(tmp_path / "srgb.png").image, plain)


def test_a_damaged_profile_is_ignored(tmp_path: Path) -> None:
    pixels = Image.new("RGB", (8, 8), (200, 120, 40))
    pixels.save(tmp_path / "a.png", icc_profile=srgb()[:200])
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png").image, np.asarray(pixels))


def test_heic_is_read_with_its_package_and_names_it_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    pixels = photograph((40, 60))
    pixels.save(tmp_path / "a.heic", quality=95)
    found = decode_image(tmp_path / "a.heic").image.astype(int)
    assert np.abs(found - np.asarray(pixels)).mean() < 12
    monkeypatch.setattr(decode, "HAS_HEIF", False)
    for source in (tmp_path / "a.heic", (tmp_path / "a.heic").read_bytes()):
        with pytest.raises(DecodeError, match=r"HEIC needs pip install '\.\[heic\]'"):
            decode_image(source)
