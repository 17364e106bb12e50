"""Choosing tokens so that even the nearest two of them lie far apart: the max-min rule (DivPrune, arXiv 2503.02175)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.max_min import max_min_picks, picks_after
from aim.kernels.merging import MEMORY_BUDGET


def diverse_order(x: Tensor, count: int, memory_budget: int = MEMORY_BUDGET) -> Tensor:
    """Pick `count` of n tokens from each of G groups, one after the other.

    The distance of two tokens is 1 - cosine similarity, in float32. First comes the token whose nearest other token is farthest away, then
    always the token that lies farthest from the nearest one picked (`aim.kernels.max_min`).

    Args:
        x: [G, n, C], floating, n ≥ 2.
        count: 1...n.
        memory_budget: bytes of distances to hold at a time. Where all of them are more, those from a pick are computed anew for each pick.

    Returns:
        long [G, count], tokens in the order of picking.
    """
    units = normalize(x.float(), dim=-1)
    groups, tokens, channels = units.shape
    if holds_all(groups, tokens, memory_budget):
        return max_min_picks((units @ units.transpose(1, 2)).neg_().add_(1), count)
    rows = max(1, memory_budget // (units.element_size() * groups * tokens))
    # A token is nearest to itself, so the second greatest similarity is that of the nearest other one.
    nearest = [(part @ units.transpose(1, 2)).topk(2, dim=-1).values[..., 1] for part in units.split(rows, dim=1)]

    def from_pick(latest: Tensor) -> Tensor:
        picked = units.gather(1, latest[:, None, None].expand(-1, -1, channels))  # [G, 1, C]
        return 1 - (units @ picked.transpose(1, 2)).squeeze(-1)

    return picks_after(torch.cat(nearest, dim=1).argmin(dim=1), from_pick, count)


def holds_all(groups: int, tokens: int, memory_budget: int = MEMORY_BUDGET) -> bool:
    """Whether the distances of all pairs fit into the budget. One group of 8,192 tokens still does."""
    return torch.float32.itemsize * groups * tokens**2 <= memory_budget


def diversity_flops(hidden: int, groups: int, tokens: int, count: int) -> int:
    """FLOPs of `diverse_order` on groups of n = `tokens` of size C = `hidden`: 3·n·C (length 1) + 2·n²·C (similarities of all pairs) a
    group, and 2·(count - 1)·n·C (similarities to each pick but the last) where not all are held. Finding maxima is left out."""
    again = 0 if holds_all(groups, tokens) else 2 * (count - 1)
    return groups * tokens * hidden * (3 + 2 * tokens + again)
