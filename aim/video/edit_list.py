"""How long an MP4 or MOV file shows its pictures: edit lists hide frames that decord counts (ISO 14496-12, 8.6.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LARGEST_INDEX = 1 << 28  # bytes of a moov box worth reading


def shown_seconds(file: str | Path) -> float | None:
    """Seconds the edit list of the first video track shows; None where the file has none, or one that says nothing about the length.

    Several stretches count as 0 seconds: no frame number can then be trusted. Damaged boxes read as no edit list.
    """
    try:
        with Path(file).open("rb") as stream:
            movie = _movie_box(stream)
        scale = _scale(movie, b"mvhd")
        for track in (body for kind, body in _boxes(movie) if kind == b"trak"):
            if _inside(track, b"mdia", b"hdlr")[8:12] == b"vide":
                return _shown(_inside(track, b"edts", b"elst"), scale)
    except (OSError, struct.error, LookupError, ZeroDivisionError):
        return None
    return None


def _shown(edits: bytes, scale: int) -> float | None:
    """The elst box: durations in units of the movie's time scale; a media time of -1 is a pause before the first frame."""
    wide = edits[0] == 1
    (count,) = struct.unpack_from(">I", edits, 4)
    entries = [struct.unpack_from(">Qq" if wide else ">Ii", edits, 8 + index * (20 if wide else 12)) for index in range(min(count, 64))]
    durations = [duration for duration, media_time in entries if media_time >= 0]
    if len(durations) > 1:
        return 0.0
    return durations[0] / scale if durations and durations[0] else None


def _scale(movie: bytes, kind: bytes) -> int:
    """Ticks a second of a header box, which has 64-bit dates in version 1."""
    header = _inside(movie, kind)
    return struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]


def _inside(body: bytes, *kinds: bytes) -> bytes:
    """The payload of the first box at the path `kinds`; LookupError where there is none."""
    for kind in kinds:
        body = dict(reversed(list(_boxes(body))))[kind]
    return body


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, payload) of the boxes one level below."""
    at = 0
    while at + 8 <= len(body):
        size, kind = struct.unpack_from(">I4s", body, at)
        if size < 8:
            return
        yield kind, body[at + 8 : at + size]
        at += size


def _movie_box(stream: BinaryIO) -> bytes:
    """The payload of moov, which may come before or after the pictures."""
    while len(header := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        length = struct.unpack(">Q", stream.read(8))[0] - 16 if size == 1 else size - 8
        if kind == b"moov" and length <= _LARGEST_INDEX:
            return stream.read(length if size else _LARGEST_INDEX)
        if length < 0:
            break
        stream.seek(length, 1)
    raise LookupError("no moov box")
