"""Which stretches of its media an MP4 or MOV file shows, as its edit list says (ISO/IEC 14496-12, 8.6.6).

FFmpeg applies edit lists itself, but it leaves a gap between two stretches that the standard does not have, and some of its decoders hand
out hidden frames. So the demuxer is told to ignore edit lists, and they are applied here to the times of all frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_LARGEST_INDEX = 1 << 28  # bytes of a moov box worth reading
_MOST_STRETCHES = 4096


class Stretch(NamedTuple):
    """A stretch of the media that is shown, or a pause.

    Attributes:
        start: the second of the media at which it begins; None for a pause.
        seconds: how long it lasts; infinity for all that is left.
    """

    start: float | None
    seconds: float

    @property
    def end(self) -> float:
        """The second of the media at which it ends."""
        return (self.start or 0.0) + self.seconds


def stretches(file: str | Path) -> list[Stretch]:
    """What the edit list of the first video track shows, in the order it is shown; empty where the file has none or a damaged one."""
    try:
        with Path(file).open("rb") as stream:
            movie = _movie_box(stream)
        for track in (body for kind, body in _boxes(movie) if kind == b"trak"):
            if _inside(track, b"mdia", b"hdlr")[8:12] == b"vide":
                return _edits(_inside(track, b"edts", b"elst"), _scale(movie, b"mvhd"), _scale(_inside(track, b"mdia"), b"mdhd"))
    except (OSError, struct.error, LookupError, ZeroDivisionError):
        pass
    return []


def is_cut_off(file: str | Path) -> bool:
    """Whether a box at the top of the file promises more than the file holds."""
    try:
        with Path(file).open("rb") as stream:
            end = stream.seek(0, 2)
            at = 0
            while at + 8 <= end:
                stream.seek(at)
                size, _ = struct.unpack(">I4s", stream.read(8))
                size = struct.unpack(">Q", stream.read(8))[0] if size == 1 else size or end - at
                if size < 8:
                    return False
                at += size
            return at > end
    except (OSError, struct.error):
        return True


def _edits(box: bytes, movie_scale: int, media_scale: int) -> list[Stretch]:
    """The elst box: durations in ticks of the movie, media times in ticks of the track; a media time of -1 is a pause."""
    wide = box[0] == 1
    (count,) = struct.unpack_from(">I", box, 4)
    entries = [
        struct.unpack_from(">Qq" if wide else ">Ii", box, 8 + index * (20 if wide else 12)) for index in range(min(count, _MOST_STRETCHES))
    ]
    return [Stretch(at / media_scale if at >= 0 else None, length / movie_scale if length else math.inf) for length, at in entries]


def _scale(body: bytes, kind: bytes) -> int:
    """Ticks a second of a header box, which has 64-bit dates in version 1."""
    header = _inside(body, kind)
    return struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]


def _inside(body: bytes, *kinds: bytes) -> bytes:
    """The payload of the first box at the path `kinds`.

    Raises:
        LookupError: there is no such box.
    """
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
    """The payload of the box moov, which may come before or after the pictures.

    Raises:
        LookupError: there is no such box.
    """
    while len(header := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        length = struct.unpack(">Q", stream.read(8))[0] - 16 if size == 1 else size - 8
        if kind == b"moov" and length <= _LARGEST_INDEX:
            return stream.read(length if size else _LARGEST_INDEX)
        if length < 0:
            break
        stream.seek(length, 1)
    raise LookupError("no moov box")
