"""The vision tower's attention to the visual tokens. Some mergers read it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TowerAttention:
    """How the vision tower's last attention layer attended to the visual tokens of F frames, pooled to their grid of T tokens a frame.

    Attributes:
        received: float32 [F, T], attention each token receives, averaged over heads and over the queries of its frame (no tower here has a
            CLS token after pooling); sums to about 1 a frame.
        keys: [F, T, D], its keys, all heads concatenated.
    """

    received: Tensor
    keys: Tensor
