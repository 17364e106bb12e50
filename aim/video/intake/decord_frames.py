"""Frames through decord, which is quick because it jumps between key frames. Runs in the decoding process."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from aim.video.edit_list import shown_seconds
from aim.video.intake.refusals import Refused
from aim.video.intake.sampling import TOLERANCE, choose, reduced

_PLAUSIBLE_SECONDS = 1e9  # decord reports ±1e14 and beyond where a packet carries no time
_NO_REPLACED_FRAMES = 1e-9  # decord's fault_tol: a frame it cannot have raises instead of repeating the one before it
_REORDERING = 16  # B-frames H.264 and HEVC allow in a row
# what decord's message holds → the reason; anything else is damage
_MESSAGES = {"cannot find video stream": "no track here", "broken metadata": "still", "bad allocation": "memory", "bad_alloc": "memory"}


def read_with_decord(file: str, num_frames: int, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration); see `aim.video.clip.Clip`.

    Raises:
        Refused: the file cannot be read.
        ImportError, OSError: decord is not installed, or not for this machine.
    """
    import decord

    decord.logging.set_level(decord.logging.FATAL)
    try:
        return _decode(decord, file, num_frames, max_side)
    except (RuntimeError, decord.DECORDError, decord.DECORDLimitReachedError, IndexError, AssertionError, StopIteration) as error:
        problem = str(error)
    raise Refused(next((reason for part, reason in _MESSAGES.items() if part in problem), "damaged"))


def _decode(decord: ModuleType, file: str, num_frames: int, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration)."""
    decoded, wanted = _sizes(decord.VideoReader(file, num_threads=1).next().shape, max_side)
    reader = decord.VideoReader(file, width=decoded[0], height=decoded[1], fault_tol=_NO_REPLACED_FRAMES)
    rate = reader.get_avg_fps()
    step = 1 / rate if 0 < rate < math.inf else 1 / 25
    starts, ends = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64).T
    ends[-1] = ends[-1] if ends[-1] > starts[-1] else starts[-1] + step
    in_order = max(np.abs(starts).max(), np.abs(ends).max()) < _PLAUSIBLE_SECONDS and bool((np.diff(starts) > 0).all())
    length = shown_seconds(file)
    if in_order and starts[0] >= -TOLERANCE and (length is None or starts[-1] < length - step / 2):
        picks, timestamps, duration = choose(starts, ends[-1], num_frames)
        try:
            return _read(reader, picks, wanted, reader.get_key_indices()), timestamps, duration
        except (decord.DECORDError, decord.DECORDLimitReachedError):
            pass  # the index promises frames at the end that are not there
    # Without times decord cannot seek, and an edit list hides frames that it counts: only reading from the start gives the right frames.
    # Their times are then those of the frames not hidden, or evenly spaced.
    count = _count_shown(decord, decord.VideoReader(file, width=64, height=64, fault_tol=_NO_REPLACED_FRAMES))
    shown = starts >= -TOLERANCE
    if in_order and shown.sum() >= count > 0:
        starts, end = starts[shown][:count], ends[shown][count - 1]
    else:
        starts, end = np.arange(count) * step, count * step
    picks, timestamps, duration = choose(starts, end, num_frames)
    reader = decord.VideoReader(file, width=decoded[0], height=decoded[1], fault_tol=_NO_REPLACED_FRAMES)
    return _read(reader, picks, wanted, None), timestamps, duration


def _sizes(shape: tuple[int, ...], max_side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) to decode at and to return, for a source whose frame came out as `shape`.

    decord takes a row padded to a multiple of 8...64 pixels for more channels when the width divides its bytes (8, 12, 16, 24, 48, 72
    pixels with 32-byte alignment, others with 64); multiples of 64 are never padded.
    """
    height, width, channels = shape
    wanted = reduced(width, height, max_side)
    padded = [-(-wanted[0] // multiple) * multiple for multiple in (8, 16, 32, 64)]
    garbled = channels != 3 if wanted == (width, height) else any(to != wanted[0] and 3 * to % wanted[0] == 0 for to in padded)
    return (padded[-1] if garbled else wanted[0], wanted[1]), wanted


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
        frame = frame.asnumpy()
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
