"""Patterns over pixels: what is gone can be told from what is there, and how it went, without colours, in print and by any eyes.

Pixels are packed, RGBA in one uint32, because numpy copies one number through a mask five times as fast as three.

A patch that is there is clear. Everything else lies under a veil with a pattern of its own, at any size of the picture. The veil is dark,
and teal where a token lives on in another. The browser's half of this is assets/explorer/looks.js.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from aim.views.fates import Fate
from aim.views.mosaic import borders

VEIL, TEAL, INK = (26, 28, 36), (12, 92, 98), (226, 230, 240)
INKED = 0.5  # opacity of a pattern's lines
ROOM = 20  # pixels of a patch that has room for lines of two colours


class Look(NamedTuple):
    """How a fate looks: the veil's opacity, the pattern over it, what a legend calls it, and the veil's colour."""

    opacity: float
    pattern: str
    words: str
    veil: tuple[int, int, int] = VEIL


LOOKS = {
    Fate.MERGED: Look(0.6, "level", "merged into another token before the language model"),
    Fate.MERGED_INSIDE: Look(0.6, "upright", "merged into another token inside the language model", TEAL),
    Fate.JUST_DROPPED: Look(0.51, "crossed", "dropped just before this layer"),
    Fate.DROPPED: Look(0.85, "hatched", "dropped earlier"),
    Fate.LEFT_OUT: Look(0.85, "dotted", "dropped before the language model"),
}


def pattern(name: str, width: int, height: int) -> np.ndarray:
    """Where a pattern inks a picture: bool [height, width]. Its period is a 28th of the longer side, at least 6 pixels."""
    side = max(6, round(max(width, height) / 28))
    thick = max(1, round(side / 7))
    y, x = np.arange(height)[:, None], np.arange(width)
    rising = (x + y) % side < thick
    if name == "hatched":
        return rising
    if name == "crossed":
        return rising | ((x - y) % side < thick)
    if name == "level":
        return np.broadcast_to(y % side < thick, (height, width))
    if name == "upright":
        return np.broadcast_to(x % side < thick, (height, width))
    from_middle = np.hypot(x % side - (side - 1) / 2, y % side - (side - 1) / 2)
    return from_middle <= max(1.0, side / 5)


def packed(colours: np.ndarray) -> np.ndarray:
    """Colours uint8 [..., 3] as opaque pixels uint32 [...]."""
    whole = np.full((*colours.shape[:-1], 4), 255, np.uint8)
    whole[..., :3] = colours
    return whole.view("<u4")[..., 0]


def unpacked(pixels: np.ndarray) -> np.ndarray:
    """Pixels uint32 [...] as colours uint8 [..., 3]."""
    return np.ascontiguousarray(pixels)[..., None].view(np.uint8)[..., :3]


def image(pixels: np.ndarray) -> Image.Image:
    """Pixels uint32 [height, width] as a picture, RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels)[..., None].view(np.uint8), "RGBA").convert("RGB")


def mixed(below: np.ndarray, above: np.ndarray, opacity: float) -> np.ndarray:
    """Pixels uint32 [..., width] under others of that opacity."""
    width = below.shape[-1]
    one, other = (Image.fromarray(part.reshape(-1, width, 1).view(np.uint8), "RGBA") for part in (below, above))
    return np.array(Image.blend(one, other, opacity)).view("<u4").reshape(below.shape)


def covered(pixels: np.ndarray, fate: Fate) -> np.ndarray:
    """Pictures uint32 [F, height, width] wholly under the veil and the pattern of a fate."""
    look = LOOKS[fate]
    return inked(mixed(pixels, np.full_like(pixels, _one(look.veil)), look.opacity), fate)


def inked(pixels: np.ndarray, fate: Fate) -> np.ndarray:
    """Pictures uint32 [F, height, width] wholly under the pattern of a fate, without its veil."""
    lines = mixed(pixels, np.full_like(pixels, _one(INK)), INKED)
    return np.where(pattern(LOOKS[fate].pattern, *pixels.shape[:0:-1]), lines, pixels)


def _one(colour: tuple[int, int, int]) -> np.uint32:
    return packed(np.array([colour], np.uint8))[0]


def stretched(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """Values of patches [F, rows, columns, ...] as values of pixels [F, height, width, ...]."""
    rows = np.arange(height) * values.shape[1] // height
    columns = np.arange(width) * values.shape[2] // width
    return values[:, rows][:, :, columns]


def starts(count: int, length: int) -> np.ndarray:
    """The first pixel of each of `count` patches along `length` pixels, as `stretched` lays them."""
    return -(-np.arange(count) * length // count)


def draw_borders(pixels: np.ndarray, labels: np.ndarray) -> None:
    """Draw lines on pixels [F, height, width], in place, between neighbouring patches whose labels [F, rows, columns] differ.

    The lines are light within dark ones, so that they show on any ground; between patches of few pixels, where lines are many, they are
    grey and alone.
    """
    height, width = pixels.shape[1:]
    thin = max(1, round(max(width, height) / 400))
    right, below = borders(labels)
    room = min(height / labels.shape[1], width / labels.shape[2]) >= ROOM
    lines = (((0, 0, 0), thin + 2), ((255, 255, 255), thin)) if room else (((150, 150, 150), 1),)
    for colour, thick in lines:
        ink = _one(colour)
        _lines(pixels, right, starts(labels.shape[2], width)[1:], thick, ink)
        _lines(pixels.swapaxes(1, 2), below.swapaxes(1, 2), starts(labels.shape[1], height)[1:], thick, ink)


def _lines(pixels: np.ndarray, differ: np.ndarray, places: np.ndarray, thick: int, ink: np.uint32) -> None:
    """Lines `thick` pixels wide at each of `places` along the third axis, where differ [F, patches along the second axis, places]."""
    along = differ[:, np.arange(pixels.shape[1]) * differ.shape[1] // pixels.shape[1]]
    for number, place in enumerate(places):
        first = place - thick // 2
        np.copyto(pixels[:, :, first : first + thick], ink, where=along[:, :, number, None])


def draw_dots(pixels: np.ndarray, dotted: np.ndarray) -> None:
    """Draw a white dot in a dark ring, in place, in the middle of each patch of dotted [F, rows, columns]; small patches get none."""
    height, width = pixels.shape[1:]
    rows, columns = dotted.shape[1:]
    radius = min(height / rows, width / columns) / 9
    if radius < 1.5 or not dotted.any():
        return
    y, x = (np.arange(length) * count % length / count for length, count in ((height, rows), (width, columns)))
    away = np.hypot(y[:, None] - height / rows / 2, x - width / columns / 2)
    has = stretched(dotted, width, height)
    np.copyto(pixels, _one((20, 20, 20)), where=has & (away <= radius + 1.2))
    np.copyto(pixels, _one((255, 255, 255)), where=has & (away <= radius))
