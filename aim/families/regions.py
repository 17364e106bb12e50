"""From regions of the picture and moments of time to the visual tokens that show them, on every family's grid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

from aim.families import family_of
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture during a moment.

    Attributes:
        box: (left, top, right, bottom) in pixels of the clip's frames, right and bottom not included; None is the whole picture.
        seconds: (start, end) counted from the clip's first frame, the end not included; None is the whole clip.
    """

    box: Box | None = None
    seconds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            Refusal: a box or moment that is empty or no numbers.
        """
        for name, given, pairs in (("box", self.box, ((0, 2), (1, 3))), ("seconds", self.seconds, ((0, 1),))):
            if given is None:
                continue
            numbers = isinstance(given, (tuple, list)) and all(isinstance(number, Real) and math.isfinite(number) for number in given)
            if not numbers or len(given) != 2 * len(pairs) or any(given[low] >= given[high] for low, high in pairs):
                what = "(left, top, right, bottom) in pixels" if name == "box" else "(start, end) in seconds"
                raise Refusal(f"The region's {name} is {given}; accepted: {what}, each end above its beginning. Draw it again.")


def places_in(config: Any, grid: Grid, clip: Any, regions: Iterable[Region], pictures: dict | None = None) -> tuple[int, ...]:
    """The places, frame · T + token, of the visual tokens that show a part of any of the regions, ascending. `aim.Mask` takes them.

    A token shows the pixels that its patches cover, and a region has each token whose pixels it touches. A frame stands for its share of
    the clip's duration, and a moment has each frame whose share it touches. Where a model joins frames in time, each step stands for its
    frames. What a model crops away from a picture is shown by no token.

    Args:
        config: the model's.
        grid: the clip's visual tokens, before any merging (`VLM.grid_of`, or the trace's frames, rows and columns).
        clip: from `aim.read_video`; its frames' size and its duration are read.
        pictures: the checkpoint's settings for clips, or for a picture those; without them the published ones of the family.

    Raises:
        Refusal: a model family that is not supported, or regions in which no token lies.
    """
    family = family_of(config)
    count, height, width = clip.frames.shape[:3]
    shown = family.shown(pictures or family.picture_settings, height, width)
    joined = -(-count // grid.frames)
    places: set[int] = set()
    for region in regions:
        left, top, right, bottom = region.box or (0, 0, width, height)
        rows = _touched(grid.rows, shown[1], shown[3], top, bottom)
        columns = _touched(grid.columns, shown[0], shown[2], left, right)
        # A clip without duration is one picture, which every moment has.
        start, end = (region.seconds if clip.duration else None) or (0, clip.duration or 1)
        frames = {frame // joined for frame in _touched(count, 0, clip.duration or 1, start, end)}
        places |= {(frame * grid.rows + row) * grid.columns + column for frame in frames for row in rows for column in columns}
    if not places:
        raise Refusal("No visual token shows a part of the regions; accepted: regions inside the picture and the clip. Draw them there.")
    return tuple(sorted(places))


def _touched(count: int, first: float, last: float, low: float, high: float) -> range:
    """Which of `count` equal stretches of first...last the stretch low...high has a part of."""
    length = (last - first) / count
    begin = math.floor((low - first) / length + 1e-9)
    end = math.ceil((high - first) / length - 1e-9)
    return range(max(0, begin), min(count, end))
