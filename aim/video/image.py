"""A picture file becomes a clip of one upright RGB frame, which is asked about through the model's own image prompt.

Every file may be hostile: it is decoded where videos are, in a process of its own with limits of time and memory (`aim.video.intake`).
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from aim.kernels.refusal import Refusal
from aim.video.clip import Clip, whole
from aim.video.intake.header import checked_image
from aim.video.intake.limits import MIN_SIDE
from aim.video.intake.process import decode
from aim.video.intake.refusals import Refused, refuse

MAX_SIDE = 2048


def read_image(path: str | Path, max_side: int = MAX_SIDE, *, stop: threading.Event | None = None) -> Clip:
    """Read a picture.

    It is turned upright as its EXIF entry says. What is transparent is shown on white. Sixteen bits a colour become eight.

    Args:
        path: a local JPEG, PNG, WebP or BMP file of at most 100 megapixels.
        max_side: the longer side, in pixels, is reduced to this, at least 16. Smaller pictures keep their size.
        stop: setting it ends the reading within a fraction of a second.

    Returns:
        A clip of one frame, without duration, whose `is_image` is set.

    Raises:
        Refusal: arguments out of range, a file that is no picture, moves, cannot be read or is over a limit, or `stop`. It names the file,
            not its folder.
    """
    if not whole(max_side) or max_side < MIN_SIDE:
        raise Refusal(
            f"max_side is {max_side!r}; accepted: a whole number of pixels, {MIN_SIDE} or more. Set it to {MAX_SIDE} if in doubt."
        )
    name, file, kind = checked_image(path)
    began = time.perf_counter()
    refused = None
    try:
        frames, _, _ = decode(file, kind, 1, int(max_side), stop)
    except Refused as reason:
        refused = reason
    if refused is not None:  # outside the except block, so that the Refusal has no other exception behind it
        refuse(name, refused.reason, refused.given, picture=True)
    return _still(frames, time.perf_counter() - began)


def image_from_pixels(pixels: np.ndarray) -> Clip:
    """A picture that is already in memory, which is copied: uint8 [H, W, 3], upright RGB.

    Raises:
        Refusal: anything else.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        given = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise Refusal(f"pixels is {given}; accepted: a NumPy array, uint8 [height, width, 3], not empty. Convert it to that.")
    return _still(np.array(pixels[None], order="C"), 0.0)


def _still(frames: np.ndarray, seconds: float) -> Clip:
    return Clip(frames, np.zeros(1), 0.0, seconds, is_image=True)
