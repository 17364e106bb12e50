"""The clip as the language model gets it, in colours: means of patches and of merged tokens, and the frame to begin with."""

from __future__ import annotations

import numpy as np
from PIL import Image

from aim.kernels.trace import Trace


def patch_colours(frames: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Mean colour of every patch, uint8 [F, rows, columns, 3], of frames uint8 [F, H, W, 3]."""
    # A box filter down to one pixel a patch is the mean of each patch, whatever the sizes.
    return np.stack([np.asarray(Image.fromarray(frame).resize((columns, rows), Image.Resampling.BOX)) for frame in frames])


def token_colours(colours: np.ndarray, trace: Trace) -> np.ndarray:
    """Mean colour of each merged token's patches in all frames, uint8 [M, 3].

    Args:
        colours: of the patches, [F, rows, columns, 3]. Patches that belong to no token count for none.
    """
    token = np.asarray(trace.assignment).reshape(-1) + 1  # the first bin takes those of no token
    bins = trace.merged_tokens + 1
    counts = np.maximum(np.bincount(token, minlength=bins), 1)
    flat = colours.reshape(-1, 3)
    sums = np.stack([np.bincount(token, weights=flat[:, channel], minlength=bins) for channel in range(3)], axis=1)
    return np.round(sums / counts[:, None]).astype(np.uint8)[1:]


def borders(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where neighbours differ: right of a patch, bool [F, rows, columns - 1], and below it, bool [F, rows - 1, columns]."""
    return labels[:, :, 1:] != labels[:, :, :-1], labels[:, 1:] != labels[:, :-1]


def most_divided(trace: Trace, colours: np.ndarray) -> int:
    """The frame on which merging shows best: whose borders between tokens separate the most colour, summed along them.

    Counting tokens would not do: AIM leaves every frame the same number, and on an even ground borders lie where they happen to.
    Where no border separates anything, it is the first frame.

    Args:
        colours: of the patches, [F, rows, columns, 3].
    """
    values = colours.astype(np.float32)
    right, below = borders(np.asarray(trace.assignment).reshape(values.shape[:3]))
    across, down = (np.linalg.norm(np.diff(values, axis=axis), axis=-1) for axis in (2, 1))
    return int(np.argmax((across * right).sum(axis=(1, 2)) + (down * below).sum(axis=(1, 2))))
