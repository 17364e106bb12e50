"""Tokens that repeat least of what a few pivots say (DART, arXiv 2502.11494).

The caller says which states are compared and which tokens are pivots.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def key_length(key: Tensor) -> Tensor:
    """The L1 norm of each token's keys, all heads together, float32 [n]. key [KV, n, d], any floating dtype."""
    return key.float().abs().sum(dim=(0, 2))


def longest(length: Tensor, among: Tensor, count: int) -> Tensor:
    """The `count` of the places `among` (long [m], ascending) of the largest length [n], the largest first, of equal ones the lower place.

    Where m < count, they are gone through again from the first.
    """
    ranked = among[length[among].argsort(descending=True, stable=True)]
    return ranked[torch.arange(count, device=among.device).remainder(max(1, len(among)))]


def least_like_pivots(states: Tensor, visual: Tensor, pivots: Tensor, each: list[int]) -> Tensor:
    """The visual tokens that are kept, bool [v]: those that are pivots, and for one pivot after the other those least like it.

    A token that is kept is no candidate for later pivots. Likeness is the cosine of the states. Of equal ones the lower place is taken.
    The pivots follow one after the other, by the rule. It takes O(n·C) memory.

    Args:
        states: [n, C], floating.
        visual: long [v], places of the visual tokens, ascending.
        pivots: long [p], places in [0, n), in the order in which they choose.
        each: how many tokens each pivot chooses, p numbers; in all not more than the visual tokens that are no pivots.
    """
    unit = normalize(states.float(), dim=-1)
    likeness = unit[visual] @ unit[pivots].T  # [v, p]
    kept = (visual[:, None] == pivots).any(dim=1)
    for number, count in enumerate(each):
        candidates = likeness[:, number].masked_fill(kept, torch.inf)
        kept = kept.index_fill(0, candidates.argsort(stable=True)[:count], True)
    return kept


def pivot_flops(hidden: int, key_size: int, tokens: int, pivots: int) -> int:
    """FLOPs of a cut among n = `tokens` tokens: 7·C a token (final norm) + 3·C (unit vectors) + 2·p·C (cosines) + `key_size` (lengths of
    keys, all heads together)."""
    return tokens * ((10 + 2 * pivots) * hidden + key_size)
