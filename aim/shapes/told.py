"""The dense target of the visual tokens: what the item that a token shows has done so far."""

from __future__ import annotations

import numpy as np

from aim.shapes.packing import NO_LABEL
from aim.shapes.scenes import COLOURS, DIRECTIONS, Item, Scene

TARGETS = {"way": len(DIRECTIONS) + 1, "former colour": len(COLOURS) + 1, "came late": 2, "grows": 2, "extreme": 3}


def so_far(scene: Scene, times: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """What each token's item has done up to the token's frame: int64 [F·T, targets], `NO_LABEL` where there is nothing to tell.

    Args:
        times: moments of the F frames.
        owners: int [F, T], index of the item that fills the token, or -1.
    """
    told = np.full((*owners.shape, len(TARGETS)), NO_LABEL, dtype=np.int64)
    for number, item in enumerate(scene.items):
        seen = [t for t in times if item.is_visible(t)]
        for frame, time in enumerate(times):
            if item.is_visible(time):
                deeds = _deeds(item, times, [t for t in seen if t <= time])
                told[frame, owners[frame] == number] = (*deeds, _extreme(item, scene, times[: frame + 1]))
    return told.reshape(-1, len(TARGETS))


def _deeds(item: Item, times: np.ndarray, seen: list[float]) -> tuple[int, int, int, int]:
    """What one item has done by the last of the moments in which it was seen so far: the first four of `TARGETS`."""
    way = NO_LABEL
    if len(seen) > 1 and item.bounces and item.progress(seen[0]) < 0.4 and item.progress(seen[-1]) > 0.6:
        way = len(DIRECTIONS)
    elif len(seen) > 1 and (not item.bounces or item.progress(seen[-1]) < 0.5):
        way = DIRECTIONS.index(item.direction)
    former, now = item.colour_at(seen[0]), item.colour_at(seen[-1])
    changed = list(COLOURS).index(former) if former != now else len(COLOURS)
    grows = int(item.growth > 1) if item.progress(seen[-1]) - item.progress(seen[0]) > 0.3 or item.growth == 1 else NO_LABEL
    return way, changed, int(seen[0] > times[0]), grows


def _extreme(item: Item, scene: Scene, times: np.ndarray) -> int:
    """1 for the largest, 2 for the smallest of the items seen so far, 0 for others; `NO_LABEL` while it is alone or where items grow."""
    radii = [other.radius for other in scene.items if any(other.is_visible(t) for t in times)]
    if len(radii) < 2 or any(other.growth > 1 for other in scene.items):
        return NO_LABEL
    return 1 if item.radius == max(radii) else 2 if item.radius == min(radii) else 0
