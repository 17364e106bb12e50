"""Which visual tokens are left where those go whose pixels hardly changed (VideoLLaMA3, arXiv 2501.13106)."""

from __future__ import annotations

import torch
from torch import Tensor


def moved_places(change: Tensor, threshold: float) -> Tensor:
    """The tokens of frame 0, and those of later frames that changed by more than `threshold`.

    A later frame of which no token did keeps its token 0.

    Args:
        change: float32 [F - 1, T], how much each token of frames 1, 2... differs from that at its place in the frame before.

    Returns:
        long [M], their places frame · T + token, ascending. The host waits for the device to know how many they are.
    """
    moved = change > threshold
    moved[:, 0] |= ~moved.any(dim=1)
    return torch.cat([moved.new_ones(1, moved.shape[1]), moved]).flatten().nonzero().flatten()
