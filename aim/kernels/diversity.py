"""Choosing tokens so that even the nearest two of them lie far apart: the max-min rule (DivPrune, arXiv 2503.02175)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.max_min import picks_after
from aim.kernels.merging import MEMORY_BUDGET


def diverse_order(x: Tensor, count: int, memory_budget: int = MEMORY_BUDGET) -> Tensor:
    """Pick `count` of n tokens from each of G groups, one after the other.

    The distance of two tokens is 1 - cosine similarity, in float32. First comes the token whose nearest other token is farthest away, then
    always the token that lies farthest from the nearest one picked (`aim.kernels.max_min`). Only as many distances as the budget allows
    are held at a time, because all of a long clip's are many: 5.7 GB for 192 frames of 196 tokens.

    Args:
        x: [G, n, C], floating, n ≥ 2.
        count: 1...n.
        memory_budget: bytes of distances to hold at a time while the first token is looked for. Later ones need n a group.

    Returns:
        long [G, count], tokens in the order of picking.
    """
    units = normalize(x.float(), dim=-1)
    groups, tokens, channels = units.shape
    rows = max(1, memory_budget // (units.element_size() * groups * tokens))
    # A token is nearest to itself, so the second greatest similarity is that of the nearest other one.
    nearest = [(part @ units.transpose(1, 2)).topk(2, dim=-1).values[..., 1] for part in units.split(rows, dim=1)]

    def from_pick(latest: Tensor) -> Tensor:
        picked = units.gather(1, latest[:, None, None].expand(-1, -1, channels))  # [G, 1, C]
        return 1 - (units @ picked.transpose(1, 2)).squeeze(-1)

    return picks_after(torch.cat(nearest, dim=1).argmin(dim=1), from_pick, count)


def diversity_flops(hidden: int, groups: int, tokens: int, count: int) -> int:
    """FLOPs of `diverse_order` on groups of n = `tokens` of size C = `hidden`: 3·n·C (length 1) + 2·n²·C (similarities of all pairs) +
    2·(count - 1)·n·C (similarities to each pick but the last) a group. Finding maxima is left out."""
    return groups * tokens * hidden * (3 + 2 * tokens + 2 * (count - 1))
