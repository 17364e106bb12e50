"""A clip of which some visual tokens stay as they are and all others go."""

from __future__ import annotations

import torch
from torch import Tensor

from aim.kernels.merging import MergedClip


def kept_alone(patches: Tensor, places: Tensor) -> MergedClip:
    """The tokens of `patches` [F, T, C] at `places`, unchanged.

    Args:
        places: long [M], ascending, each frame · T + token. It is on the device of `patches`.

    Returns:
        The clip, in which every other token is assigned to -1.
    """
    frames, per_frame, channels = patches.shape
    numbers = torch.arange(len(places), device=patches.device)
    assignment = torch.full((frames * per_frame,), -1, device=patches.device).scatter_(0, places, numbers)
    return MergedClip(patches.reshape(-1, channels)[places], assignment.view(frames, per_frame), torch.ones_like(places), places)
