"""Sums of tokens by group, in the same sequence on every device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


def group_sums(values: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The sums of the tokens of each group, and how many they are.

    A group is summed from the lowest index to the highest, whatever the number of threads. Adding by index instead goes in the sequence in
    which threads happen to arrive, and a difference in the last bit can decide a tie later.

    Args:
        values: [n, C], floating.
        group: long [n], 0...groups - 1, or -1 for a token of no group.
        groups: how many groups there are.

    Returns:
        Sums [groups, C], 0 for an empty group, in float32 or better, and sizes, long [groups].
    """
    sizes = group.new_zeros(groups + 1).scatter_add_(0, group + 1, torch.ones_like(group))
    members = group.argsort(stable=True)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return embedding_bag(members, values, sizes.cumsum(0) - sizes, mode="sum")[1:], sizes[1:]
