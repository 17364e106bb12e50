"""Which patches of a clip changed, in pixels, since the vision tower last computed them."""

from __future__ import annotations

import torch
from torch import Tensor


def changed_patches(pixels: Tensor, patch: int, threshold: float, deviations: Tensor) -> Tensor:
    """Whether each patch differs from the patch at its place as it was last computed. Those of frame 0 always do.

    The difference is the mean of the absolute differences of all colour values. A patch that has not changed stays compared with the same
    earlier one, so that slow changes add up until they are seen.

    Args:
        pixels: normalised frames [F, C, height, width]. Rows and columns behind the last whole patch are left out, as towers leave them.
        patch: pixels along a side of a patch.
        threshold: differences up to this are none; colour values go from 0 to 1.
        deviations: [C], what the colour values were divided by.

    Returns:
        bool [F, P], patches in raster order.
    """
    colours = pixels.float() * deviations.to(pixels.device)[:, None, None]
    squares = colours.unfold(2, patch, patch).unfold(3, patch, patch)  # [F, C, rows, columns, patch, patch]
    patches = squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)  # [F, P, C · patch²]
    changed = torch.ones(patches.shape[:2], dtype=torch.bool, device=pixels.device)
    computed = patches[0]
    for frame in range(1, len(patches)):
        changed[frame] = (patches[frame] - computed).abs().mean(-1) > threshold
        computed = torch.where(changed[frame, :, None], patches[frame], computed)
    return changed


def change_in_pixels_flops(patch_pixels: int, frames: int, patches: int) -> int:
    """FLOPs of `changed_patches`: 3 for each colour value of each patch behind frame 0 (difference, absolute value, sum)."""
    return 3 * patch_pixels * (frames - 1) * patches


def last_places(computed: Tensor, places: Tensor) -> Tensor:
    """For each token of each frame, the place of the token that was last computed for it: in this frame or the latest one before.

    Args:
        computed: bool [F, n], which tokens a frame computes. Frame 0 computes all.
        places: long [F, n], where those are kept. Places of later frames are larger than those of earlier ones. Others are not read.

    Returns:
        long [F, n].
    """
    return torch.where(computed, places, -1).cummax(0).values
