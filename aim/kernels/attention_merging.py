"""Keeping the visual tokens that were attended to most, and merging the others into them (PruMerge, arXiv 2403.15388).

The caller passes the attention, which is the vision tower's. It chooses which tokens stay, or how many of the most attended.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.counts import tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.tower_attention import TowerAttention

NEIGHBOURS = 32


def count_outliers(received: Tensor) -> list[int]:
    """For each of F frames, how many tokens receive attention [F, T] above Q3 + 1.5 · (Q3 - Q1) (PruMerge, section 3.2).

    The quartiles Q1 and Q3 are those of the frame, interpolated linearly.
    """
    first, third = received.float().quantile(torch.tensor([0.25, 0.75], device=received.device), dim=1)
    return (received > (third + 1.5 * (third - first))[:, None]).sum(dim=1).tolist()


def most_attended(received: Tensor, counts: list[int]) -> list[Tensor]:
    """Of each frame the counts[f] places that receive most attention [F, T], ascending. Ties go to the lower place."""
    ranked = received.float().argsort(dim=1, descending=True, stable=True)
    return [row[:count].sort().values for row, count in zip(ranked, counts, strict=True)]


def outliers_and_even_places(received: Tensor) -> list[Tensor]:
    """Of each frame the tokens of outlying attention [F, T], and with them tokens at even distances (PruMerge+, the official code).

    k outliers of T tokens bring the places 0, s, 2·s... below T - 1 with them, where s = ⌊⌊T / k⌋ / 3⌋, so about three times as many. The
    official code fails where there are no outliers, or more than T / 3. Here a frame without outliers keeps none, and s is at least 1.
    """
    tokens, counts = received.shape[1], count_outliers(received)
    kept = []
    for places, count in zip(most_attended(received, counts), counts, strict=True):
        step = max(1, tokens // count // 3) if count else tokens
        even = torch.arange(0, tokens - 1 if count else 0, step, device=places.device)
        kept.append(torch.cat([places, even]).unique())
    return kept


def attended_and_even_places(received: Tensor, counts: list[int]) -> list[Tensor]:
    """Of each frame counts[f] places, ascending: three quarters at even distances, and the rest the most attended [F, T] of the others."""
    tokens, kept = received.shape[1], []
    for row, count in zip(received.float(), counts, strict=True):
        spread = tokens_of(Fraction(3, 4), count)
        even = torch.arange(spread, device=row.device) * tokens // max(1, spread)
        [attended] = most_attended(row.index_fill(0, even, -torch.inf)[None], [count - spread])
        kept.append(torch.cat([attended, even]).sort().values)
    return kept


def merge_by_attention(patches: Tensor, tower: TowerAttention, counts: list[int], neighbours: int = NEIGHBOURS) -> MergedClip:
    """Leave counts[f] tokens of frame f: the counts[f] - 1 most attended ones, and one for all others; see `merge_around`.

    Raises:
        ValueError: shapes that do not fit each other, or a count not in 1...T.
    """
    frames, num_tokens, _ = patches.shape
    _check_shapes(patches, tower)
    if len(counts) != frames or not all(1 <= count <= num_tokens for count in counts):
        raise ValueError(f"counts is {counts}; pass one number from 1 to {num_tokens} for each of the {frames} frames.")
    return merge_around(patches, tower, most_attended(tower.received, [count - 1 for count in counts]), neighbours)


def merge_around(patches: Tensor, tower: TowerAttention, kept: list[Tensor], neighbours: int = NEIGHBOURS) -> MergedClip:
    """Leave the tokens `kept` of each frame, and one for all others (PruMerge, section 3.3 and the official code).

    A kept token becomes x + Σ aⱼ·xⱼ over its `neighbours` nearest tokens j of the frame, kept ones included, by cosine of the keys; a is
    the attention received, not normalised. The last token is Σ aⱼ·xⱼ over all that were not kept. Sums are taken in float32, and ties go to
    the lower index.

    In the record a patch belongs to one merged token only. A kept patch belongs to itself. A patch that several kept tokens took in belongs
    to the one whose key is most like its own, since all of them took it in with the same weight. A patch that no kept token took in belongs
    to the frame's last token. The last token has the place of the most attended patch that was not kept, and this patch always belongs to
    it.

    Args:
        patches: projected visual tokens [F, T, C] in raster order.
        tower: the attention they received and their keys.
        kept: for each frame the places that stay, long, ascending, from none up to T - 1 of them.
        neighbours: tokens that each kept one takes in, at least 1; where the frame has fewer, it takes in all others.

    Returns:
        The clip, each frame's tokens in raster order of their anchors.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    _check_shapes(patches, tower)
    num_tokens, counts = patches.shape[1], [len(places) + 1 for places in kept]
    merged = [
        _merge_frame(x, received, keys, places, neighbours)
        for x, received, keys, places in zip(patches, tower.received.float(), tower.keys, kept, strict=True)
    ]
    before = [sum(counts[:frame]) for frame in range(len(kept))]
    assignment = torch.stack([owner + offset for (_, owner, _), offset in zip(merged, before, strict=True)])
    return MergedClip(
        tokens=torch.cat([tokens for tokens, _, _ in merged]),
        assignment=assignment,
        sizes=assignment.new_zeros(sum(counts)).scatter_add_(0, assignment.flatten(), torch.ones_like(assignment.flatten())),
        anchors=torch.cat([anchors + frame * num_tokens for frame, (_, _, anchors) in enumerate(merged)]),
    )


def _check_shapes(patches: Tensor, tower: TowerAttention) -> None:
    frames, num_tokens, _ = patches.shape
    if tower.received.shape != (frames, num_tokens) or tower.keys.shape[:2] != (frames, num_tokens):
        raise ValueError(
            f"patches have shape {tuple(patches.shape)}, attention {tuple(tower.received.shape)} and keys {tuple(tower.keys.shape)}; "
            "pass [F, T, C], [F, T] and [F, T, D] of one clip."
        )


def _merge_frame(x: Tensor, received: Tensor, keys: Tensor, chosen: Tensor, neighbours: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge one frame [T, C] into the tokens `chosen` and one for the rest, `count` in all.

    Returns:
        The tokens [count, C]; for each patch the index of the token that it belongs to, long [T]; for each token its anchor, long [count].
    """
    count = len(chosen) + 1
    rest = received.index_fill(0, chosen, -torch.inf).argsort(descending=True, stable=True)[: len(x) - len(chosen)]
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
