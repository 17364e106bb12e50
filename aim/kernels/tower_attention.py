"""The vision tower's attention to the visual tokens. Some mergers read it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TowerAttention:
    """How the vision tower's last attention layer attended to the visual tokens of F frames, pooled to their grid of T tokens a frame.

    Attributes:
        received: float32 [F, T], the attention each token receives, the mean over heads. Where the tower has a CLS token it is what CLS
            pays the token, and a frame's sum stays below 1. Elsewhere it is the mean over the queries of the frame, and sums to about 1.
        keys: [F, T, D], its keys, all heads concatenated.
        heads: how many heads these are.
    """

    received: Tensor
    keys: Tensor
    heads: int = 1

    def head_mean_keys(self) -> Tensor:
        """The means of the keys over the heads, float32 [F, T, D / heads]."""
        return self.keys.float().unflatten(-1, (self.heads, -1)).mean(-2)
