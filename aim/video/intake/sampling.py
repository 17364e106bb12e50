"""Which frames of a video are taken."""

from __future__ import annotations

import numpy as np

from aim.video.intake.limits import MAX_HOURS
from aim.video.intake.refusals import Refused

TOLERANCE = 1e-3  # seconds; Matroska and WebM round times to milliseconds


def choose(starts: np.ndarray, duration: float, num_frames: int) -> np.ndarray:
    """Places of the frames that are shown at the centres of num_frames equal stretches of time.

    Args:
        starts: float64 [N], ascending seconds at which frames appear, the first at 0.
        duration: the second at which the last one disappears.
        num_frames: how many; where there are fewer frames, as many as there are.

    Returns:
        int64 [min(num_frames, N)], indices into `starts`, never falling.

    Raises:
        Refused: there are no frames, or the video is longer than the limit.
    """
    if not len(starts):
        raise Refused("damaged")
    if duration > MAX_HOURS * 3600:
        raise Refused("hours", duration / 3600)
    count = min(num_frames, len(starts))
    centres = (np.arange(count) + 0.5) / count * duration
    return np.searchsorted(starts - TOLERANCE, centres, side="right") - 1
