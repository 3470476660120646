"""Which container a video file is, by its content."""

from __future__ import annotations

from pathlib import Path

from final_model_stage.image_reader import is_heif

DEMUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".3gp", ".3g2"), "mov"),
    **dict.fromkeys((".mkv", ".webm"), "matroska"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "mpeg"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "mpegts"),
    ".avi": "avi",
    ".flv": "flv",
    ".ogv": "ogg",
    ".wmv": "asf",
}
"""Suffix -> container. If FFmpeg guessed, it would follow playlists to other files and URLs."""

_MAGIC = (
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"wide", "mov"),
    (8, b"AVI ", "avi"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"FLV\x01", "flv"),
    (0, b"\x30\x26\xb2\x75", "asf"),
    (0, b"OggS", "ogg"),
)
"""Place, bytes -> container, whatever the file is called."""
_TRANSPORT_PACKETS = ((0, 188), (4, 192))
"""Place of the first byte 0x47 in an MPEG transport stream, and bytes from one to the next: of
broadcasts, and of camcorders (.mts, .m2ts)."""


def container_by_content(path: Path) -> str | None:
    """FFmpeg's name of the container; None for what is none of DEMUXERS. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(1024)
    if is_heif(head) or head[8:12] in (b"avif", b"avis"):  # pictures in the container of MP4
        return None
    for place, magic, container in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return container
    for first, step in _TRANSPORT_PACKETS:
        marks = head[first::step]
        if len(marks) > 3 and set(marks) == {0x47}:
            return "mpegts"
    return None
