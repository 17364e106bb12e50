"""Keeping the visual tokens that were attended to most, and merging the others into them (PruMerge, arXiv 2403.15388).

Tensors only. Whose attention that is, the vision tower's, and how many tokens stay, is the caller's choice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.merging import MergedClip
from aim.kernels.tower_attention import TowerAttention

NEIGHBOURS = 32


def count_outliers(received: Tensor) -> list[int]:
    """For each frame the tokens whose attention [F, T] is above Q3 + 1.5 · (Q3 - Q1), quartiles interpolated linearly (section 3.2)."""
    first, third = received.float().quantile(torch.tensor([0.25, 0.75], device=received.device), dim=1)
    return (received > (third + 1.5 * (third - first))[:, None]).sum(dim=1).tolist()


def merge_by_attention(patches: Tensor, tower: TowerAttention, counts: list[int], neighbours: int = NEIGHBOURS) -> MergedClip:
    """Leave counts[f] tokens of frame f: the most attended but one fewer, and one for all others (section 3.3; its code).

    A kept token becomes x + Σ aⱼ·xⱼ over its `neighbours` nearest tokens j of the frame, kept ones included, by cosine of the keys; a is
    the attention received, not normalised. The last token is Σ aⱼ·xⱼ over all that were not kept. Sums in float32; ties to the lower index.

    For the record a patch belongs to one merged token only. A kept one belongs to itself; another to the kept token, of those that took it
    in, whose key is most like its own, since all of them took it in with the same weight; one that nobody took in to the frame's last
    token. That token stands at the place of the most attended patch among the rest, which always belongs to it.

    Args:
        patches: projected visual tokens [F, T, C] in raster order.
        tower: the attention they received and their keys.
        counts: tokens to leave of each frame, 1...T.
        neighbours: tokens each kept one takes in, at least 1; all others of the frame where it has fewer.

    Returns:
        The clip, each frame's tokens in raster order of their anchors.

    Raises:
        ValueError: shapes that do not fit each other, or a count not in 1...T.
    """
    frames, num_tokens, _ = patches.shape
    if tower.received.shape != (frames, num_tokens) or tower.keys.shape[:2] != (frames, num_tokens):
        raise ValueError(
            f"patches have shape {tuple(patches.shape)}, attention {tuple(tower.received.shape)} and keys {tuple(tower.keys.shape)}; "
            "pass [F, T, C], [F, T] and [F, T, D] of one clip."
        )
    if len(counts) != frames or not all(1 <= count <= num_tokens for count in counts):
        raise ValueError(f"counts is {counts}; pass one number from 1 to {num_tokens} for each of the {frames} frames.")
    merged = [
        _merge_frame(x, received, keys, count, neighbours)
        for x, received, keys, count in zip(patches, tower.received.float(), tower.keys, counts, strict=True)
    ]
    before = [sum(counts[:frame]) for frame in range(frames)]
    assignment = torch.stack([owner + offset for (_, owner, _), offset in zip(merged, before, strict=True)])
    return MergedClip(
        tokens=torch.cat([tokens for tokens, _, _ in merged]),
        assignment=assignment,
        sizes=assignment.new_zeros(sum(counts)).scatter_add_(0, assignment.flatten(), torch.ones_like(assignment.flatten())),
        anchors=torch.cat([anchors + frame * num_tokens for frame, (_, _, anchors) in enumerate(merged)]),
    )


def _merge_frame(x: Tensor, received: Tensor, keys: Tensor, count: int, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """One frame [T, C] as `count` tokens [count, C]; for each patch [T] the one it belongs to; for each of these [count] its anchor."""
    ranked = received.argsort(descending=True, stable=True)
    chosen, rest = ranked[: count - 1].sort().values, ranked[count - 1 :]
    unit = normalize(keys.float(), dim=-1)
    cosine = unit[chosen] @ unit.T  # [kept, T]
    others = cosine.scatter(1, chosen[:, None], -torch.inf)
    nearest = others.argsort(dim=1, descending=True, stable=True)[:, : min(neighbours, len(x) - 1)]  # [kept, neighbours]
    takes = torch.zeros_like(cosine).scatter_(1, nearest, 1.0)
    weighed = received[:, None] * x.float()
    tokens = torch.cat([x[chosen].float() + takes @ weighed, weighed[rest].sum(dim=0, keepdim=True)])

    anchors, order = torch.cat([chosen, rest[:1]]).sort()
    # The last row is the rest's: no cosine is as low as its bid, so a patch falls to it only where no kept token took it in.
    claims = torch.cat([cosine.masked_fill(takes == 0, -torch.inf), cosine.new_full((1, len(x)), -2.0)])
    owner = claims.argmax(dim=0)
    owner.scatter_(0, chosen, torch.arange(count - 1, device=x.device)).index_fill_(0, rest[:1], count - 1)
    return tokens[order].to(x.dtype), order.argsort()[owner], anchors
