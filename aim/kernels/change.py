"""What changed since the frame before (EVS, arXiv 2510.14624)."""

from __future__ import annotations

import torch
from torch import Tensor


def changed_places(patches: Tensor, count: int) -> Tensor:
    """The `count` tokens of a clip that differ most from the token at the same place in the frame before.

    The difference is 1 - cosine similarity, in float32. Tokens of frame 0 come before all others. Ties go to the earlier token.

    Args:
        patches: [F, T, C], floating.
        count: 1...F·T.

    Returns:
        long [count], their places frame · T + token, ascending.
    """
    x = patches.float()
    change = 1 - torch.cosine_similarity(x[1:], x[:-1], dim=-1)  # [F - 1, T], at most 2
    ranks = torch.cat([torch.full_like(x[:1, :, 0], torch.inf), change]).flatten()
    return ranks.argsort(descending=True, stable=True)[:count].sort().values


def change_flops(hidden: int, frames: int, tokens_per_frame: int) -> int:
    """FLOPs of `changed_places` on tokens of size C = `hidden`: 6·C for each token behind frame 0 (a product of two vectors and their two
    lengths). Sorting is left out."""
    return 6 * hidden * (frames - 1) * tokens_per_frame
