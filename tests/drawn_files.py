"""Pictures and videos as files, ordinary and odd."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image


def photograph(size: tuple[int, int] = (40, 60), seed: int = 0) -> Image.Image:
    """Smooth colours (height, width), none of them white, that no two corners share."""
    small = np.random.default_rng(seed).integers(0, 220, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photograph(), "JPEG", exif=exif, quality=95)


def png(width: int, height: int, depth: int, kind: int, content: bytes) -> bytes:
    """A PNG that Pillow would not write. kind: 0 gray, 2 RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def rgb16() -> bytes:
    rows = np.asarray(photograph()).astype(">u2") * 257
    return png(60, 40, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


def gray16() -> Image.Image:
    return Image.fromarray(np.asarray(photograph().convert("L")).astype(np.uint16) * 257)


def transparent() -> Image.Image:
    """The left half is seen through."""
    image = photograph().convert("RGBA")
    image.paste((90, 10, 10, 0), (0, 0, 30, 40))
    return image


def frames(image: Image.Image) -> dict[str, object]:
    return {"save_all": True, "append_images": [image.rotate(180)]}


def video(
    path: Path, size: tuple[int, int] = (48, 64), count: int = 12, codec: str = "libx264"
) -> None:
    """Frames of `size` (height, width), 10 a second, by PyAV."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if codec == "libx264" else "rgb24"
        for seed in range(count):
            frame = av.VideoFrame.from_image(photograph(size, seed))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def turned_video(path: Path) -> None:
    """As telephones write it: a matrix in the track's header says how it is to be turned."""
    video(path)
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    before, header, after = path.read_bytes().partition(b"tkhd")
    path.write_bytes(before + header + after.replace(upright, clockwise, 1))


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def of_bytes(make: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(make())


def of_video(make: Callable[[Path], None], keep: float) -> Callable[[Path], object]:
    """The first `keep` of a file, between 0 and 1."""

    def write(path: Path) -> None:
        make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return write
