"""Which frames of a video are taken, and at what size."""

from __future__ import annotations

import numpy as np

from aim.video.intake.limits import MAX_HOURS, MAX_MEGAPIXELS
from aim.video.intake.refusals import Refused

TOLERANCE = 1e-3  # seconds; decord's times are float32


def reduced(width: int, height: int, max_side: int) -> tuple[int, int]:
    """(width, height) with the longer side at most max_side: unchanged, or reduced in proportion to even numbers, 2 at the least.

    Raises Refused for frames over the limit.
    """
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise Refused("megapixels", width * height / 1e6)
    scale = max_side / max(width, height)
    return (width, height) if scale >= 1 else tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))


def choose(starts: np.ndarray, end: float, num_frames: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Which frames are on at the centres of num_frames equal stretches of time: (indices, their times, duration).

    Args:
        starts: float64 [N], ascending seconds at which frames appear; end: the second at which the last one disappears.

    Raises Refused for no frames or a video over the limit.
    """
    if not len(starts):
        raise Refused("damaged")
    first, count = starts[0], min(num_frames, len(starts))
    duration = float(end - first)
    if duration > MAX_HOURS * 3600:
        raise Refused("hours", duration / 3600)
    centres = (np.arange(count) + 0.5) / count * duration
    picks = np.searchsorted(starts - first - TOLERANCE, centres, side="right") - 1
    return picks, starts[picks] - first, duration
