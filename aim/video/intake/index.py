"""When each frame of a file appears: as its packets promise or, where they cannot be trusted, as decoding finds.

This module runs in the decoding process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aim.video.intake.opening import Video, opened
from aim.video.intake.refusals import Refused

_USUAL_STEP = 1 / 25  # seconds, where a file tells no rate


@dataclass(frozen=True)
class Index:
    """Frames in the order in which they are shown, before any edit list.

    Attributes:
        ticks: int64 [N], ascending, when each frame appears, in units of `tick` seconds from anywhere.
        keys: int64 [K], ascending, the ticks of key frames.
        last: seconds for which the last frame is shown.
        certain: each packet holds a picture and a time of its own, so decoding finds frames at exactly these ticks.
        timed: the ticks are times of the file; where they are not, the frames have none and are spaced evenly.
    """

    ticks: np.ndarray
    keys: np.ndarray
    tick: float
    last: float
    certain: bool
    timed: bool


def promised(file: str, demuxer: str) -> Index:
    """The index that the packets make. Nothing is decoded.

    Raises:
        Refused: an MP4 or MOV file holds fewer frames than it lists, so the rest of it is missing.
    """
    with opened(file, demuxer) as video:
        stream, context = video.stream, video.stream.codec_context
        times, keys, length, count, sound, before = [], [], {}, 0, True, None
        for packet in video.packets():
            count += 1
            if packet.pts is None or not video.holds_picture(memoryview(packet)):
                sound = False
            if video.joined and before is not None and packet.dts is not None and packet.dts <= before:  # another file begins here
                sound = False
            before = packet.dts
            if packet.pts is not None:
                times.append(packet.pts)
                length[packet.pts] = packet.duration or 0
                if packet.is_keyframe:
                    keys.append(packet.pts)
        if demuxer == "mov" and count < stream.frames:
            raise Refused("damaged")
        # AVI holds no times. FFmpeg numbers its packets as they are decoded, which differs from the order of showing with B-frames.
        reordered = demuxer == "avi" and context.has_b_frames
        ticks = np.unique(np.array(times, dtype=np.int64))
        certain = sound and len(ticks) == count > 0 and not reordered
        last = length[int(ticks[-1])] if len(ticks) else 0
        return _index(video, ticks, last, certain, keys)


def counted(file: str, demuxer: str, promise: Index) -> Index:
    """The index that decoding the whole file makes. The length of the last frame is the promise's.

    Where broadcasts were joined one behind the other, times begin again. Each part then goes on where the one before it ended.

    Raises:
        Refused: the file cannot be decoded.
    """
    with opened(file, demuxer) as video:
        times = [frame.pts for frame in video.frames()]
        ticks = np.array([0 if time is None else time for time in times], dtype=np.int64)
        if video.joined and None not in times:
            ticks = _one_after_another(ticks)
        if None not in times and (np.diff(ticks) > 0).all():
            return _index(video, ticks, round(promise.last / promise.tick), certain=False)
        step = _step(video)
        return Index(np.arange(len(times)), ticks[:0], step, step, certain=False, timed=False)


def _one_after_another(ticks: np.ndarray) -> np.ndarray:
    """Ticks of which some lie before the ones before them, moved behind these by the usual step, and all that follow with them."""
    steps = np.diff(ticks)
    onward = steps > 0
    if onward.all() or not onward.any():
        return ticks
    return np.concatenate([ticks[:1], ticks[0] + np.cumsum(np.where(onward, steps, round(np.median(steps[onward]))))])


def _index(video: Video, ticks: np.ndarray, last: int, certain: bool, keys: Sequence[int] = ()) -> Index:
    """An index by times of the file. `last`: ticks for which the last frame is shown; 0 stands for as many as most others."""
    if video.stream.time_base is None:
        raise Refused("damaged")
    tick = float(video.stream.time_base)
    usual = float(np.median(np.diff(ticks))) * tick if len(ticks) > 1 else _step(video)
    return Index(ticks, np.unique(np.array(keys, dtype=np.int64)), tick, last * tick if last > 0 else usual, certain, timed=True)


def _step(video: Video) -> float:
    """Seconds from frame to frame at the rate that the file tells."""
    rate = video.stream.average_rate
    return float(1 / rate) if rate else _USUAL_STEP
