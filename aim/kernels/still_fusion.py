"""Tokens that repeat the one before them at the same place are averaged into it, within a budget (FrameFusion, arXiv 2501.01986)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.group_sums import group_sums


def still_to_drop(shares: Sequence[Fraction], cost: Fraction, layers: int) -> Fraction:
    """The share of the tokens that has to go at once, so that all layers run on the share `cost` of the tokens on average.

    Args:
        shares: of the tokens there were, the share that went before each layer so far.
        layers: how many layers the LLM has, more than len(shares).

    Returns:
        0 to 1: 0 where even the tokens there are cost less, 1 where the layers so far have cost all.
    """
    left, spent = Fraction(1), Fraction(0)
    for share in shares:
        left *= 1 - share
        spent += left
    if not left:
        return Fraction(0)
    room = (layers * cost - spent) / ((layers - len(shares)) * left)
    return 1 - min(Fraction(1), max(Fraction(0), room))


def next_count(counts: Sequence[int], cost: Fraction, layers: int, least_share: Fraction) -> int | None:
    """How many tokens the next layer runs on, where it follows from those of the layers so far; None where it is for `fuse` to say.

    Merging goes on until a layer's share of what it merged is below `least_share`, and then one cut drops what is still to drop. It ends at
    once where merging meets the budget. A layer that came after the merging and dropped nothing has waited for a score.

    Args:
        counts: the tokens that entered the LLM, and then those that each layer ran on.
    """
    shares: list[Fraction] = []
    merging = True
    for before, after in pairwise(counts):
        budget = still_to_drop(shares, cost, layers)
        if merging and budget and after == before - int(budget * before) or not merging and after == _pruned(before, budget):
            return counts[-1]
        shares.append(1 - Fraction(after, before))
        merging = merging and shares[-1] >= least_share
    return None if merging else min(counts[-1], _pruned(counts[-1], still_to_drop(shares, cost, layers)))


def _pruned(tokens: int, budget: Fraction) -> int:
    return max(1, round(tokens * (1 - budget)))


def fuse(states: Tensor, spots: Tensor, similarity: float, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average each token that repeats the one before it at the same place into the last one there that does not.

    A token repeats where its cosine with that one is `similarity` or more. Where that would be more than `most` tokens, the `most` of the
    highest cosine do; of equal ones the earlier. A run of them is averaged with the token before the run, as a plain mean. It takes O(v·C)
    memory. The host waits once for how many tokens are left.

    Args:
        states: [v, C], floating, in the order of time.
        spots: long [v], equal for tokens at one place of their frames.

    Returns:
        The tokens that are left, long [k], ascending; their new states [k, C], float32; which of them each token went into, long [v].
    """
    device, tokens = states.device, len(states)
    order = spots.argsort(stable=True)
    unit = normalize(states.float(), dim=-1)[order]
    likeness = torch.full((tokens,), -torch.inf, device=device)
    likeness[1:] = torch.where(spots[order][1:] == spots[order][:-1], (unit[1:] * unit[:-1]).sum(dim=-1), -torch.inf)
    in_place = torch.empty_like(likeness).scatter_(0, order, likeness)
    goes = in_place >= similarity
    gone: int = goes.sum(dim=0, keepdim=True).tolist()[0]
    if gone > most:
        gone = most
        goes = torch.zeros_like(goes).index_fill_(0, in_place.argsort(descending=True, stable=True)[:most], True)
    left = goes.int().argsort(stable=True)[: tokens - gone]
    # Among tokens sorted by place, each goes to the last one before it that stays.
    sorted_goes = goes[order]
    first = order[sorted_goes.int().argsort(stable=True)[: tokens - gone]]
    run = (~sorted_goes).cumsum(0) - 1
    rank = torch.full((tokens,), -1, device=device).scatter_(0, left, torch.arange(len(left), device=device))
    into = torch.empty_like(order).scatter_(0, order, rank[first[run]])
    sums, sizes = group_sums(states, into, len(left))
    return left, sums / sizes[:, None], into


def fusion_flops(hidden: int, tokens: int) -> int:
    """FLOPs of `fuse` on states of size C = `hidden`: 6·C a token (unit vectors, cosines with the one before, means)."""
    return 6 * hidden * tokens
