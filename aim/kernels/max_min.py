"""Picking tokens that are far from each other, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def max_min_picks(distances: Tensor, count: int) -> Tensor:
    """Pick `count` of m tokens, each as far as can be from those picked before it: long [..., count], in the order of picking.

    The first is the token whose second smallest distance is largest; the smallest is its distance to itself. For the others see
    `picks_after`.

    Args:
        distances: [..., m, m], where [i, j] is how far j is from a picked i. It need not be equal both ways, and it may be negative.
        count: 1...m.
    """
    amount = distances.shape[-1]
    least = distances.topk(min(2, amount), dim=-2, largest=False).values[..., -1, :]  # [..., m]

    def from_pick(latest: Tensor) -> Tensor:
        return distances.gather(-2, latest[..., None, None].expand(*latest.shape, 1, amount)).squeeze(-2)

    return picks_after(least.argmax(dim=-1), from_pick, count)


def picks_after(first: Tensor, from_pick: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """As `max_min_picks`, from a given first token on and without a matrix of all distances.

    Each further pick is the token whose least distance to those picked is largest. Ties go to the lower index, and no token is picked
    twice. Each pick depends on those before it, so they are made in a loop of `count` steps, for all sets of tokens at once.

    Args:
        first: long [...], the first pick of each set of m tokens.
        from_pick: what gives for one pick of each set, long [...], how far the tokens are from it, [..., m].
        count: 1...m.
    """
    picks = [first]
    least = picked = None
    for _ in range(count - 1):
        distance = from_pick(picks[-1])
        if least is None or picked is None:
            least, picked = distance, torch.zeros_like(distance, dtype=torch.bool)
        least, picked = torch.minimum(least, distance), picked.scatter(-1, picks[-1][..., None], True)
        picks.append(least.masked_fill(picked, -torch.inf).argmax(dim=-1))
    return torch.stack(picks, dim=-1)
