"""The shape in which a frame is shown: the pixels' aspect, the display matrix, and the longer side that is asked for."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from aim.video.intake.limits import MAX_MEGAPIXELS
from aim.video.intake.refusals import Refused


class Turn(NamedTuple):
    """One of the eight ways to lay a picture: rows and columns swapped first, then rows or columns reversed."""

    swapped: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False


def turn_of(matrix: bytes | None) -> Turn:
    """The turn that a display matrix asks for (ISO/IEC 14496-12, 8.3.2). Without a matrix there is no turn.

    A stored point (x, y) is shown at (a·x + c·y, b·x + d·y), with a, b, c and d at places 0, 1, 3 and 4 of nine 32-bit numbers in this
    machine's order. Anything between two quarter turns goes to the nearer one. Scales are left out, since players do not apply them.
    """
    if matrix is None or len(matrix) != 36:
        return Turn()
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, d < 0, a < 0)
    return Turn(True, b < 0, c < 0)


def is_sheared(matrix: bytes | None) -> bool:
    """Whether a display matrix does more than turn by quarters and scale. FFmpeg makes a pixel aspect of it then, which nobody meant."""
    if matrix is None or len(matrix) != 36:
        return False
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
    return 100 * min(straight, crossed) > max(straight, crossed)


def upright(picture: np.ndarray, turn: Turn) -> np.ndarray:
    """A view of [H, W, 3] as `turn` lays it."""
    picture = picture.transpose(1, 0, 2) if turn.swapped else picture
    return picture[:: -1 if turn.rows_reversed else 1, :: -1 if turn.columns_reversed else 1]


def shown_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """(width, height) at which pixels of this aspect become square. The narrower side is widened, so that nothing is lost.

    The aspect is width / height. None stands for an unknown one, which is taken to be square.

    Raises:
        Refused: stored frames are over the limit.
    """
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise Refused("megapixels", width * height / 1e6)
    if pixel_aspect is None:
        return width, height
    return (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))


def reduced(width: int, height: int, max_side: int) -> tuple[int, int]:
    """(width, height) with the longer side at most max_side: unchanged, or reduced in proportion to even numbers, 2 at the least."""
    scale = max_side / max(width, height)
    if scale >= 1:
        return width, height
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
