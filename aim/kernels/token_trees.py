"""Trees of similar tokens along time, each merged into its root (FlashVID, arXiv 2602.08024)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.group_sums import group_sums

_LOWEST = -1 + 1e-6  # a cosine up to which nothing is linked


def merge_trees(segment: Tensor, free: Tensor, threshold: float, left_at_least: int) -> tuple[Tensor, Tensor]:
    """Link each token of a segment of L frames to a token of the frame before, and merge every tree into its root.

    A free token's parent is the free token of the frame before with the largest cosine, if that is above `threshold`. Where fewer than
    `left_at_least` of all tokens would have no parent, only those links stay whose cosine is above the n-th largest, n = L·T -
    `left_at_least`. A token without a parent is a root. A token that is not free is the root of a tree of its own. Ties go to the lower
    index.

    A root becomes the sum of its whole tree, divided by one more than its direct children. So it is no mean where a tree has more than two
    levels. That is what the official code computes, which adds up from the last frame to the first.

    Each frame's trees go on from those of the frame before, so frames are visited in a loop. It takes O(T²) memory beside O(L·T·C).

    Args:
        segment: [L, T, C], floating.
        free: bool [L, T].
        threshold: a cosine.
        left_at_least: 1...L·T - 1.

    Returns:
        The values of the roots, float32 [L, T, C], with 0 for other tokens, and each token's root, long [L, T], as l · T + token.
    """
    frames, per_frame, channels = segment.shape
    unit = normalize(segment.float(), dim=-1)
    best, partners = [torch.full_like(unit[0, :, 0], -1)], [torch.zeros_like(free[0], dtype=torch.long)]
    for frame in range(1, frames):
        cosine = (unit[frame] @ unit[frame - 1].T).masked_fill(~free[frame - 1], -1)
        strength, partner = cosine.max(dim=-1)
        best.append(strength.masked_fill(~free[frame], -1))
        partners.append(partner)
    similar, most_links = torch.stack(best), frames * per_frame - left_at_least
    nth = similar.flatten().sort(descending=True).values[most_links - 1].clamp(min=_LOWEST)
    linked = similar > torch.where((similar > threshold).sum() > most_links, nth, threshold)

    own = torch.arange(frames * per_frame, device=segment.device).view(frames, per_frame)
    parent = own - own % per_frame - per_frame + torch.stack(partners)
    roots = [own[0]]
    for frame in range(1, frames):
        roots.append(torch.where(linked[frame], roots[-1][partners[frame]], own[frame]))
    root = torch.stack(roots)
    sums, _ = group_sums(segment.flatten(0, 1), root.flatten(), root.numel())
    children = root.new_zeros(root.numel()).scatter_add_(0, parent.clamp(min=0).flatten(), linked.long().flatten())
    return (sums / (1 + children)[:, None]).view(frames, per_frame, channels), root
