"""Frames through PyAV (FFmpeg's libraries), which tells the time of every frame. This module runs in the decoding process only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aim.video.intake.index import Index
from aim.video.intake.opening import Video, opened
from aim.video.intake.refusals import Refused
from aim.video.intake.shape import Turn, upright

_SEEKABLE = ("mov", "matroska", "avi")  # demuxers that find a key frame by its time; programme and transport streams land anywhere


def take(file: str, demuxer: str, index: Index, numbers: np.ndarray, size: tuple[int, int], turn: Turn) -> np.ndarray:
    """Frames of an index, uint8 [N, H, W, 3], scaled to `size` (width, height) and then turned upright.

    Args:
        numbers: which frames, int64 [N], ascending, each once.

    Raises:
        Unlike: the index is `certain`, but decoding does not find what it promises.
        Refused: the file cannot be decoded.
    """
    if not index.certain:
        return _by_number(file, demuxer, numbers, size, turn)
    if demuxer in _SEEKABLE:
        try:
            return _by_time(file, demuxer, index, index.ticks[numbers], index.keys, size, turn)
        except Unlike:
            pass  # a jump led elsewhere, which cannot happen without jumps
    return _by_time(file, demuxer, index, index.ticks[numbers], index.keys[:0], size, turn)


class Unlike(Exception):
    """The frames that decoding finds are not those that the index promises."""


def _by_number(file: str, demuxer: str, numbers: np.ndarray, size: tuple[int, int], turn: Turn) -> np.ndarray:
    wanted, pictures = iter(numbers.tolist()), _Pictures(len(numbers), size, turn)
    following = next(wanted)
    with opened(file, demuxer) as video:
        for number, frame in enumerate(video.frames()):
            if number == following:
                pictures.add(frame)
                following = next(wanted, None)
                if following is None:
                    return pictures.taken
    raise Refused("damaged")


def _by_time(file: str, demuxer: str, index: Index, ticks: np.ndarray, keys: np.ndarray, size: tuple[int, int], turn: Turn) -> np.ndarray:
    """Frames of ascending ticks. The decoder jumps to those of `keys` that are on the way.

    Raises:
        Unlike: no frame has one of the ticks.
    """
    pictures = _Pictures(len(ticks), size, turn)
    with opened(file, demuxer, many_frames=True) as video:
        frames, at = _in_order(video), None
        for tick in ticks.tolist():
            key = int(keys[max(0, int(np.searchsorted(keys, tick, side="right")) - 1)]) if len(keys) else None
            if key is not None and key <= tick and key > (index.ticks[0] if at is None else at):
                video.container.seek(key, stream=video.stream)
                frames = _in_order(video, at_start=False)
            frame = next((frame for frame in frames if frame.pts >= tick), None)
            if frame is None or frame.pts != tick:
                raise Unlike
            at = tick
            pictures.add(frame)
    return pictures.taken


def _in_order(video: Video, at_start: bool = True) -> Iterator:
    """Frames from here on.

    Raises:
        Unlike: a frame has no time, or none after that of the frame before it.
    """
    before = None
    for frame in video.frames(at_start):
        if frame.pts is None or before is not None and frame.pts <= before:
            raise Unlike
        before = frame.pts
        yield frame


def _on_white(picture: np.ndarray) -> np.ndarray:
    """RGB, uint8 [H, W, 3], of RGBA [H, W, 4] as a white page shows it. What lies under a clear pixel is never shown."""
    opacity = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


class _Pictures:
    """An array that is filled frame by frame."""

    def __init__(self, count: int, size: tuple[int, int], turn: Turn):
        width, height = size[::-1] if turn.swapped else size
        self.taken = np.empty((count, height, width, 3), dtype=np.uint8)
        self._size, self._turn, self._count = size, turn, 0

    def add(self, frame) -> None:
        """The next frame, whatever its size, as RGB."""
        clear = any(component.is_alpha for component in frame.format.components)
        picture = frame.reformat(*self._size, format="rgba" if clear else "rgb24", interpolation="BICUBIC").to_ndarray()
        if clear:
            picture = _on_white(picture)
        self.taken[self._count] = upright(picture, self._turn)
        self._count += 1
