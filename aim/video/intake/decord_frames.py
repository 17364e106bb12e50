"""Frames through decord, which is quick because it jumps between key frames. This module runs in the decoding process only.

decord counts frames and does not look at their times. So it reads only files whose packets are known to hold one frame each; see
`decord_is_right`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from aim.video.intake.facts import Facts
from aim.video.intake.index import Index
from aim.video.intake.shape import Turn

_DEMUXERS = ("mov", "matroska")
_CODECS = ("h264", "hevc", "vp9", "mpeg4")
_LATEST = 60.0  # seconds: decord keeps times as float32, and looks for frames by them
_NO_REPLACED_FRAMES = 1e-9  # decord's fault_tol: where it cannot have a frame it raises, and does not repeat the one before
_REORDERING = 16  # B-frames H.264 and HEVC allow in a row


def decord_is_right(facts: Facts, index: Index, whole: bool, size: tuple[int, int]) -> bool:
    """Whether decord gives the right frames of such a file at `size` (width, height). `whole` says that no edit list hides any.

    decord ignores the aspect of pixels, turns flips by 180 degrees, counts hidden frames, and loses its place where times begin late.
    """
    return (
        facts.demuxer in _DEMUXERS
        and facts.codec in _CODECS
        and facts.turn == Turn()
        and facts.shown == facts.size
        and facts.alone
        and facts.has_length
        and index.certain
        and whole
        and abs(int(index.ticks[0])) * index.tick <= _LATEST
        and not _garbled(size[0])
    )


def take(file: str, index: Index, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames of an index, uint8 [N, H, W, 3], at `size` (width, height). `numbers`, int64 [N], ascending, each once, say which.

    Raises:
        CannotRead: decord is not there, or does not read the file as the index says.
    """
    try:
        import decord
    except (ImportError, OSError):
        raise CannotRead from None
    decord.logging.set_level(decord.logging.FATAL)
    try:
        reader = decord.VideoReader(file, width=size[0], height=size[1], fault_tol=_NO_REPLACED_FRAMES)
        if len(reader) != len(index.ticks):
            raise CannotRead
        return _read(reader, numbers, size, reader.get_key_indices())
    except (RuntimeError, decord.DECORDError, decord.DECORDLimitReachedError, IndexError, AssertionError, StopIteration):
        raise CannotRead from None


class CannotRead(Exception):
    """decord cannot read the file, so another reader has to."""


def _garbled(width: int) -> bool:
    """Whether decord may take rows of that many pixels, padded to a multiple of 8...64, for rows of more channels.

    It does so where the width divides the padded row's bytes: 8, 12, 16, 24, 48, 72 pixels with 32-byte alignment, and others with 64.
    """
    padded = (-(-width // multiple) * multiple for multiple in (8, 16, 32, 64))
    return any(to != width and 3 * to % width == 0 for to in padded)


def _read(reader: Any, numbers: np.ndarray, size: tuple[int, int], keys: list[int]) -> np.ndarray:
    """The frames, reached by jumps between key frames.

    decord numbers key frames in decoding order. With open groups of pictures (the default of x265) the frames just after such a number are
    shown before the key frame, and a jump lands behind them. So they are reached from the group before.
    """
    frames = np.empty((len(numbers), size[1], size[0], 3), dtype=np.uint8)
    following = 0
    for place, number in enumerate(numbers.tolist()):
        earlier = int(np.searchsorted(keys, number, side="right"))
        key = keys[earlier - 1] if earlier else 0
        start = max(key - 1, following) if following <= key and number - key < _REORDERING else number
        reader.seek_accurate(start)
        for _ in range(start, number + 1):
            frame = reader.next()
        following = number + 1
        frame = frame.asnumpy()
        if frame.shape[:2] != frames.shape[1:3]:
            frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        frames[place] = frame
    return frames
