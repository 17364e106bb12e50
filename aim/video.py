"""A video file becomes a few upright RGB frames, evenly spread over its time, each with the second it appears at (decord)."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from aim.edit_list import shown_seconds

MAX_FRAMES = 512
ACCEPTED = "MP4, MOV, MKV, WebM, AVI, MPG"

_QUICKTIME_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_PLAUSIBLE_SECONDS = 1e9  # decord reports ±1e14 and beyond where a packet carries no time
_TOLERANCE = 1e-3  # decord's times are float32
_NO_REPLACED_FRAMES = 1e-9  # decord's fault_tol: a frame it cannot have raises instead of repeating the one before it
_REORDERING = 16  # B-frames H.264 and HEVC allow in a row


@dataclass(frozen=True)
class Clip:
    """Frames taken from a video.

    Attributes:
        frames: uint8 [F, H, W, 3], upright RGB.
        timestamps: float64 [F], the second at which each frame appears, counted from the clip's first frame; never negative, ascending.
        duration: seconds from the appearance of the first frame to the disappearance of the last.
        decode_seconds: wall time reading took.
        digest: SHA-256 of frames and timestamps, hexadecimal; clips are equal when their digests are.
    """

    frames: np.ndarray = field(compare=False, repr=False)
    timestamps: np.ndarray = field(compare=False)
    duration: float
    decode_seconds: float = field(compare=False)
    digest: str


def read_video(path: str | Path, num_frames: int = 32, max_side: int = 640) -> Clip:
    """Take `num_frames` frames at the centres of as many equal stretches of time: (i + 0.5) / num_frames · duration.

    Args:
        path: a local MP4, MOV, MKV, WebM, AVI or MPG file.
        num_frames: 1...MAX_FRAMES. A clip that has fewer frames gives all it has. Where one frame stays on for several stretches (variable
            frame rate), it is returned once for each.
        max_side: the longer side, in pixels, is reduced to this while decoding; smaller clips keep their size. At least 16.

    Raises:
        ValueError: the arguments, or a file that cannot be read; it names the file, never its folder.
        ImportError: decord is not installed.
    """
    if not _whole(num_frames) or not 1 <= num_frames <= MAX_FRAMES:
        raise ValueError(f"num_frames is {num_frames!r}; accepted: a whole number from 1 to {MAX_FRAMES}. Set it within that range.")
    if not _whole(max_side) or max_side < 16:
        raise ValueError(f"max_side is {max_side!r}; accepted: a whole number of pixels, 16 or more. Set it to 640 if in doubt.")
    name, file = _checked_file(path)
    decord = _import_decord()
    began = time.perf_counter()
    # Refused outside the except block: a pending exception would keep the reader, and the file, open through its traceback.
    problem = ""
    try:
        frames, timestamps, duration = _decode(decord, file, int(num_frames), int(max_side))
    except (RuntimeError, decord.DECORDError, decord.DECORDLimitReachedError, IndexError, AssertionError, StopIteration) as error:
        problem = str(error) or type(error).__name__
    if "cannot find video stream" in problem:
        _refuse(name, "there is no video track in it that can be decoded here: it holds only sound, no frames, or AV1 video")
    if "broken metadata" in problem:
        _refuse(name, "it holds a still picture, such as a cover, or does not tell how long it lasts")
    if problem:
        _refuse(name, "it is damaged or incomplete", "Export or record it again, as MP4 (H.264), and upload the new file.")
    return Clip(frames, timestamps, duration, time.perf_counter() - began, _digest(frames, timestamps))


def clip_from_frames(frames: np.ndarray, frames_per_second: float) -> Clip:
    """A clip of frames already in memory, copied: uint8 [F, H, W, 3], F ≥ 1, upright RGB, shown at a constant positive rate.

    Raises ValueError for anything else.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        given = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise ValueError(f"frames is {given}; accepted: a NumPy array, uint8 [frames, height, width, 3], not empty. Convert it to that.")
    number = isinstance(frames_per_second, (int, float, np.integer, np.floating)) and not isinstance(frames_per_second, bool)
    if not number or not math.isfinite(frames_per_second) or frames_per_second <= 0:
        raise ValueError(f"frames_per_second is {frames_per_second!r}; accepted: a number above 0. Set it to the rate of the frames.")
    frames = np.array(frames, order="C")
    timestamps = np.arange(len(frames)) / float(frames_per_second)
    return Clip(frames, timestamps, len(frames) / float(frames_per_second), 0.0, _digest(frames, timestamps))


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _digest(frames: np.ndarray, timestamps: np.ndarray) -> str:
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(frames)
    digest.update(timestamps)
    return digest.hexdigest()


def _refuse(name: str, reason: str, advice: str = "Convert it to MP4 (H.264) and upload again.") -> NoReturn:
    raise ValueError(f"{name} is not a video this app can read ({reason}). Accepted: {ACCEPTED}. {advice}")


def _checked_file(path: str | Path) -> tuple[str, str]:
    """(name to show, absolute path) of a local file whose first bytes are those of an accepted format.

    FFmpeg, inside decord, follows links and opens playlists whatever their names, and those lead to other people's files.
    """
    if not isinstance(path, (str, Path)) or not str(path).strip():
        _refuse("What was given", "it is no file name" if isinstance(path, str) else f"it is a {type(path).__name__}", "Upload a file.")
    text = str(path)
    link = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None
    name = re.split(r"[\\/]", re.split(r"[?#]", text)[0] if link else text)[-1]
    name = "".join(letter for letter in name if letter.isprintable())[-80:] or "What was given"
    if link:
        _refuse(name, "it is a link", "Download it and upload the file.")
    file, head = Path(path), None
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        file = file.resolve()
        if file.is_file():
            with file.open("rb") as stream:
                head = stream.read(16)
    if head is None:
        _refuse(name, "there is no such file, or it may not be opened", "Check its name and upload it again.")
    if not head:
        _refuse(name, "it is empty", "Upload it again, or export it as MP4 (H.264).")
    matroska, program_stream = head.startswith(b"\x1a\x45\xdf\xa3"), head.startswith((b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"))
    if not (head[4:8] in _QUICKTIME_BOXES or matroska or (head[:4] == b"RIFF" and head[8:12] == b"AVI ") or program_stream):
        _refuse(name, "its content is in none of the accepted formats, whatever its name says")
    return name, str(file)


def _import_decord() -> ModuleType:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise ImportError(
            "Reading videos needs the package decord, which cannot be imported. Run `pip install decord` (Linux on x86-64, Windows) or "
            "`pip install eva-decord` (Apple silicon, Python 3.11); elsewhere decode the frames yourself and use clip_from_frames."
        ) from error
    decord.logging.set_level(decord.logging.FATAL)
    return decord


def _decode(decord: ModuleType, file: str, num_frames: int, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration); see `Clip`."""
    decoded, wanted = _sizes(_array(decord.VideoReader(file, num_threads=1).next()).shape, max_side)
    reader = decord.VideoReader(file, width=decoded[0], height=decoded[1], fault_tol=_NO_REPLACED_FRAMES)
    rate = reader.get_avg_fps()
    step = 1 / rate if 0 < rate < math.inf else 1 / 25
    starts, ends = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64).T
    ends[-1] = ends[-1] if ends[-1] > starts[-1] else starts[-1] + step
    in_order = max(np.abs(starts).max(), np.abs(ends).max()) < _PLAUSIBLE_SECONDS and bool((np.diff(starts) > 0).all())
    length = shown_seconds(file)
    if in_order and starts[0] >= -_TOLERANCE and (length is None or starts[-1] < length - step / 2):
        picks, timestamps, duration = _choose(starts, ends[-1], num_frames)
        try:
            return _read(reader, picks, wanted, reader.get_key_indices()), timestamps, duration
        except (decord.DECORDError, decord.DECORDLimitReachedError):
            pass  # the index promises frames at the end that are not there
    # Without times decord cannot seek, and an edit list hides frames that it counts: only reading from the start gives the right frames.
    # Their times are then those of the frames not hidden, or evenly spaced.
    count = _count_shown(decord, decord.VideoReader(file, width=64, height=64, fault_tol=_NO_REPLACED_FRAMES))
    shown = starts >= -_TOLERANCE
    if in_order and shown.sum() >= count > 0:
        starts, end = starts[shown][:count], ends[shown][count - 1]
    else:
        starts, end = np.arange(count) * step, count * step
    picks, timestamps, duration = _choose(starts, end, num_frames)
    reader = decord.VideoReader(file, width=decoded[0], height=decoded[1], fault_tol=_NO_REPLACED_FRAMES)
    return _read(reader, picks, wanted, None), timestamps, duration


def _sizes(shape: tuple[int, ...], max_side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) to decode at and to return, for a source whose frame came out as `shape`.

    decord takes a row padded to a multiple of 8...64 pixels for more channels when the width divides its bytes (8, 12, 16, 24, 48, 72
    pixels with 32-byte alignment, others with 64); multiples of 64 are never padded.
    """
    height, width, channels = shape
    scale = max_side / max(width, height)
    wanted = (width, height) if scale >= 1 else tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))
    padded = [-(-wanted[0] // multiple) * multiple for multiple in (8, 16, 32, 64)]
    garbled = channels != 3 if scale >= 1 else any(to != wanted[0] and 3 * to % wanted[0] == 0 for to in padded)
    return (padded[-1] if garbled else wanted[0], wanted[1]), wanted


def _choose(starts: np.ndarray, end: float, num_frames: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Which frames are on at the centres of num_frames equal stretches of time: (indices, their times, duration)."""
    if not len(starts):
        raise IndexError("no frame is shown")
    first, count = starts[0], min(num_frames, len(starts))
    duration = float(end - first)
    centres = (np.arange(count) + 0.5) / count * duration
    picks = np.searchsorted(starts - first - _TOLERANCE, centres, side="right") - 1
    return picks, starts[picks] - first, duration


def _read(reader: Any, picks: np.ndarray, wanted: tuple[int, int], keys: list[int] | None) -> np.ndarray:
    """The frames of ascending indices at the size `wanted` (width, height), jumping between key frames, or in one go where keys is None.

    decord numbers key frames in decoding order. With open groups of pictures (the default of x265) the frames just after such a number are
    shown before the key frame, and a jump lands behind them; so those are reached from the group before.
    """
    frames = np.empty((len(picks), wanted[1], wanted[0], 3), dtype=np.uint8)
    following = 0
    for place, pick in enumerate(picks.tolist()):
        if place and pick == picks[place - 1]:
            frames[place] = frames[place - 1]
            continue
        start = following
        if keys is not None:
            earlier = int(np.searchsorted(keys, pick, side="right"))
            key = keys[earlier - 1] if earlier else 0
            start = max(key - 1, following) if following <= key and pick - key < _REORDERING else pick
            reader.seek_accurate(start)
        for _ in range(start, pick + 1):
            frame = reader.next()
        following = pick + 1
        frame = _array(frame)
        if frame.shape[:2] != frames.shape[1:3]:
            frame = np.asarray(Image.fromarray(frame).resize(wanted, Image.Resampling.BICUBIC))
        frames[place] = frame
    return frames


def _count_shown(decord: ModuleType, reader: Any) -> int:
    for count in range(len(reader)):
        try:
            reader.next()
        except (StopIteration, decord.DECORDLimitReachedError):
            return count
    return len(reader)


def _array(frame: Any) -> np.ndarray:
    """decord hands out its own array type, or that of whichever bridge the calling thread has set."""
    return frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)
