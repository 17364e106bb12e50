"""When the frames of a file are shown: its index, seen through its edit list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aim.video.edit_list import Stretch
from aim.video.intake.index import Index
from aim.video.intake.refusals import Refused
from aim.video.intake.sampling import TOLERANCE


class Timeline(NamedTuple):
    """What is shown, and when.

    Attributes:
        numbers: int64 [N], which frame of the index is shown from each of `starts` on.
        starts: float64 [N], ascending seconds, the first of which is 0.
        duration: the second at which the last frame disappears.
    """

    numbers: np.ndarray
    starts: np.ndarray
    duration: float


def timeline(index: Index, edits: list[Stretch]) -> Timeline:
    """What is shown of an index: all of it, or the stretches of an edit list one after the other.

    A stretch shows the frames that begin in it. A pause before the first frame is left out, and a later pause holds the frame before it.
    The whole lasts no longer than the stretches together.

    Raises:
        Refused: an edit list hides frames of a file whose frames have no times, or no frame is shown.
    """
    if not len(index.ticks):
        raise Refused("damaged")
    media = index.ticks * index.tick
    ends = np.append(media[1:], media[-1] + index.last)
    shown = [edit for edit in edits if edit.start is not None]
    if not shown or len(shown) == 1 and shown[0].start <= media[0] + TOLERANCE and shown[0].end > media[-1] + TOLERANCE:
        starts = (index.ticks - index.ticks[0]) * index.tick
        return Timeline(np.arange(len(starts)), starts, float(starts[-1] + index.last))
    if not index.timed:
        raise Refused("edited")
    numbers, starts, end, now = [], [], 0.0, 0.0
    for start, seconds in edits[edits.index(shown[0]) :]:
        if start is not None and (inside := np.flatnonzero((media >= start - TOLERANCE) & (media < start + seconds - TOLERANCE))).size:
            numbers.append(inside)
            starts.append(now + np.maximum(media[inside] - start, 0))
            end = now + ends[inside[-1]] - start
        now += seconds
        if np.isinf(now):
            break
    if not numbers:
        raise Refused("damaged")
    begin = starts[0][0]
    return Timeline(np.concatenate(numbers), np.concatenate(starts) - begin, float(min(end - begin, now)))
