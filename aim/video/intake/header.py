"""Which files may reach a decoder at all, by their first bytes.

FFmpeg, inside decord and PyAV, follows links and opens playlists whatever their names, and those lead to other people's files. So it is
handed only local files that begin as one of the accepted containers; playlists (HLS, concat, SDP, DASH) are text and begin as none.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from aim.video.intake.limits import MAX_MEGABYTES, SUFFIXES
from aim.video.intake.refusals import refuse

_HEAD = 1024  # bytes
_SHOWN = 80  # letters of a name
_QUICKTIME_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_PICTURE_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"jp2 ", b"crx ")
_PICTURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP"}
_PATTERN = frozenset("%*?[]{}")


def demuxer_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that a file's first bytes (1,024 or all) announce; None for anything that is not accepted."""
    if head[4:8] in _QUICKTIME_BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS else "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if head.startswith(b"\x00\x00\x01\xb3"):
        return "mpegvideo"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if any(_in_step(head, first, step) for first, step in ((0, 188), (4, 192))):
        return "mpegts"
    return None


def picture_of(head: bytes) -> str | None:
    """Pillow's name of the picture format that a file's first bytes announce; None for anything that is not accepted."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for start, kind in _PICTURES.items() if head.startswith(start)), None)


def begins_as_image(head: bytes) -> bool:
    """Whether a file's first bytes announce a single picture, accepted or not."""
    return picture_of(head) is not None or _is_phone_picture(head) or head.startswith((b"II*\0", b"MM\0*"))


def checked_file(path: str | Path) -> tuple[str, str, str]:
    """(name to show, absolute path, demuxer) of a local file that a decoder may open.

    Raises:
        aim.kernels.refusal.Refusal: `path` is anything else.
    """
    name, file, head = _checked(path, picture=False)
    demuxer = demuxer_of(head)
    if demuxer is None:
        refuse(name, "unknown format")
    return name, file, demuxer


def checked_image(path: str | Path) -> tuple[str, str, str]:
    """(name to show, absolute path, Pillow's name of the format) of a local picture that may be decoded.

    Raises:
        aim.kernels.refusal.Refusal: `path` is anything else.
    """
    name, file, head = _checked(path, picture=True)
    kind = picture_of(head)
    if kind is None:
        refuse(name, "phone picture" if _is_phone_picture(head) else "unknown picture", picture=True)
    return name, file, kind


def _is_phone_picture(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS


def _checked(path: str | Path, picture: bool) -> tuple[str, str, bytes]:
    """(name to show, absolute path, first bytes) of a local file that is not too large.

    Raises:
        aim.kernels.refusal.Refusal: `path` is anything else.
    """
    if not isinstance(path, (str, Path)):
        refuse("What was given", "no path", type(path).__name__, picture)
    text = str(path)
    if not text.strip():
        refuse("What was given", "no name", picture=picture)
    link = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None
    name = shown_name(re.split(r"[?#]", text)[0] if link else text)
    if link:
        refuse(name, "link", picture=picture)
    file, head, size, is_folder = Path(path), None, 0, False
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        file = file.resolve()
        is_folder = file.is_dir()
        if file.is_file():
            with file.open("rb") as stream:
                head, size = stream.read(_HEAD), file.stat().st_size
    if is_folder:
        refuse(name, "folder", picture=picture)
    if head is None:
        refuse(name, "missing", picture=picture)
    if not head:
        refuse(name, "empty", picture=picture)
    if _misleads(file):
        refuse(name, "unspeakable name", picture=picture)
    if size > MAX_MEGABYTES * 1e6:
        refuse(name, "megabytes", size / 1e6, picture)
    return name, str(file), head


def shown_name(text: str) -> str:
    """The last part of a path, of either system, as it may be shown."""
    name = re.split(r"[\\/]", text)[-1]
    return "".join(letter for letter in name if letter.isprintable())[-_SHOWN:] or "What was given"


def _misleads(file: Path) -> bool:
    """Whether FFmpeg does not take the name for one file: it is not Unicode, or means a numbered series of pictures, `frame%03d.png`."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return True
    return not _PATTERN.isdisjoint(str(file)) and file.suffix.lower() not in SUFFIXES


def _in_step(head: bytes, first: int, step: int) -> bool:
    """Whether MPEG transport packets begin at every step: two or more of them, each with the byte 0x47."""
    starts = head[first::step]
    return len(starts) > 1 and set(starts) == {0x47}
