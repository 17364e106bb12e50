"""Dropped tokens that come back as a few clusters (SparseVLM, arXiv 2410.04417, its token recycling)."""

from __future__ import annotations

import torch
from torch import Tensor

from aim.kernels.counts import tokens_of
from aim.kernels.density_peaks import density_peaks, density_peaks_flops, nearest_centres
from aim.kernels.group_sums import group_sums

# The share of what is dropped that is recycled, and how many of these make a cluster.
RECYCLED, MEMBERS = 0.3, 10


def recycled_of(dropped: int) -> tuple[int, int]:
    """(how many of the dropped tokens are recycled: ⌊0.3 · dropped⌋ + 1, how many clusters they make: ⌊recycled / 10⌋ + 1)."""
    recycled = min(tokens_of(RECYCLED, dropped) + 1, dropped)
    return recycled, min(recycled // MEMBERS + 1, recycled)


def left_of(tokens: int, kept: int) -> int:
    """How many tokens a cut leaves of `tokens`, of which it keeps `kept` as they are and recycles some of the others."""
    return kept + (recycled_of(tokens - kept)[1] if kept < tokens else 0)


def recycle(states: Tensor, score: Tensor, kept: int, clusters: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the tokens of the highest scores, and cluster the best of the others.

    The recycled, in the order of their scores, are clustered by density peaks with as many neighbours as there are clusters. Each goes to
    the nearest centre (Euclid), and a cluster is their plain mean at the place of its centre. What is dropped and not recycled is in no
    token. Of equal scores the earlier token is the higher. It takes O(recycled² + v·C) memory.

    Args:
        states: [v, C], floating.
        score: [v].
        kept, clusters: how many tokens stay as they are, and how many clusters are made. Both are at most v in all.

    Returns:
        The tokens that are left, long [kept + clusters], ascending; their new states, float32; which of them each token went into, long
        [v], -1 for none; and the centres, long [clusters], the best cluster first.
    """
    tokens, device = len(states), states.device
    ranked = score.argsort(descending=True, stable=True)
    again = ranked[kept : kept + max(recycled_of(tokens - kept)[0], clusters)]
    peaks, distances = density_peaks(states[again], clusters, clusters)
    centres = again[peaks]
    means, sizes = group_sums(states[again], nearest_centres(distances, peaks), clusters)
    left = torch.cat([ranked[:kept], centres])
    new = torch.cat([states[ranked[:kept]].float(), means / sizes[:, None]])
    group = torch.full((tokens,), -1, device=device)
    group = group.scatter(0, ranked[:kept], torch.arange(kept, device=device))
    group = group.scatter(0, again, kept + nearest_centres(distances, peaks))
    order = left.argsort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=device))
    return left[order], new[order], torch.where(group < 0, -1, rank[group.clamp(min=0)]), centres


def recycling_flops(hidden: int, dropped: int) -> int:
    """FLOPs of `recycle` on states of size C = `hidden`: density peaks of the recycled, and their sums, C each."""
    recycled = recycled_of(dropped)[0]
    return density_peaks_flops(recycled, hidden) + recycled * hidden
