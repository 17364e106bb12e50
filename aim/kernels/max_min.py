"""Picking tokens that are far from each other, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def max_min_picks(distances: Tensor, count: int) -> Tensor:
    """Pick `count` of m tokens, each as far as can be from those picked before it: long [..., count], in the order of picking.

    The first is the token whose second smallest distance is largest; the smallest is its distance to itself. Each further one is the
    token whose least distance to those picked is largest. Ties go to the lower index, and no token is picked twice. Each pick depends on
    those before it, so they are made in a loop of `count` steps, for all sets of tokens at once.

    Args:
        distances: [..., m, m], where [i, j] is how far j is from a picked i. It need not be equal both ways, and it may be negative.
        count: 1...m.
    """
    amount = distances.shape[-1]
    least = distances.topk(min(2, amount), dim=-2, largest=False).values[..., -1, :]  # [..., m]
    picks = [least.argmax(dim=-1)]
    least = torch.full_like(least, torch.inf)
    picked = torch.zeros_like(least, dtype=torch.bool)
    for _ in range(count - 1):
        latest = picks[-1][..., None]
        row = distances.gather(-2, latest[..., None].expand(*latest.shape, amount)).squeeze(-2)
        least, picked = torch.minimum(least, row), picked.scatter(-1, latest, True)
        picks.append(least.masked_fill(picked, -torch.inf).argmax(dim=-1))
    return torch.stack(picks, dim=-1)
