"""Telling tokens of each frame stay, and the others are merged along time and then within each frame (FlashVID, arXiv 2602.08024)."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.cost import received_flops
from aim.kernels.density_peaks import density_peaks, density_peaks_flops, nearest_centres
from aim.kernels.group_sums import group_sums
from aim.kernels.max_min import max_min_picks
from aim.kernels.merging import MEMORY_BUDGET, MergedClip
from aim.kernels.segments import segment_lengths
from aim.kernels.shape import VisionShape
from aim.kernels.token_trees import merge_trees

NEIGHBOURS = 7


def merge_by_trees(
    patches: Tensor, received: Tensor, picked: int, merged: int, segment_threshold: float, least_segments: int, link_threshold: float
) -> MergedClip:
    """Leave `picked` tokens of each frame as they are, and about `merged` a frame for all others.

    1. The clip is cut into segments (`aim.kernels.segments`) by the means of its frames.
    2. In each frame `picked` tokens are chosen that the vision tower attends to and that differ from each other (`told_apart`).
    3. In a segment of several frames, the others are merged along time (`aim.kernels.token_trees`), so that about `picked` + `merged` a
       frame are left at least. In a segment of one frame all tokens go on to the next step, those that were picked too.
    4. What is left is clustered in each frame (`aim.kernels.density_peaks`). A frame's share of the segment's `merged` · L clusters is that
       of what is left in it, rounded up. Each cluster is the plain mean of what is left in it and stands at its centre.

    In the record a patch belongs to one token only. One that was picked belongs to itself, and any other to the cluster of its root. So in
    a segment of one frame, a cluster may have no patch of its own, where all its patches were picked. Of two tokens at one place the picked
    one comes first. With `merged` 0 all that was not picked is dropped.

    Segments and what is left in each frame decide the number of tokens, so the host waits twice. It takes O(F · T²) memory, at most
    `MEMORY_BUDGET` at a time, beside O(F·T·C).

    Args:
        patches: projected visual tokens [F, T, C] in raster order.
        received: the attention that they receive, [F, T].
        picked: 1...T - 1.
        merged: from 0 to T - 1 - `picked`.
        segment_threshold: the cosine of neighbouring frames below which the clip is cut.
        least_segments: how many segments there are at least, where the clip has as many frames.
        link_threshold: the cosine above which a token is merged into one of the frame before.

    Raises:
        ValueError: shapes that do not fit each other, or numbers that are out of range.
    """
    frames, per_frame, _ = patches.shape
    if received.shape != (frames, per_frame) or not (picked >= 1 and merged >= 0 and picked + merged < per_frame):
        raise ValueError(
            f"patches have shape {tuple(patches.shape)} and attention {tuple(received.shape)}, and {picked} + {merged} tokens are to stay; "
            "pass [F, T, C] and [F, T] of one clip, and fewer tokens than T."
        )
    x = patches.float()
    means = x.mean(dim=1)
    lengths = segment_lengths(means, segment_threshold, least_segments)
    starts = [0, *accumulate(lengths)]
    events = torch.stack([means[start : start + length].mean(dim=0) for start, length in zip(starts, lengths, strict=False)])
    of_segment = [number for number, length in enumerate(lengths) for _ in range(length)]
    picks = told_apart(x, received, torch.stack([events[number] for number in of_segment]), picked)
    free = torch.ones_like(received, dtype=torch.bool).scatter_(1, picks, False)

    own = torch.arange(frames * per_frame, device=patches.device).view(frames, per_frame)
    values, roots, left = [], [], []
    for start, length in zip(starts, lengths, strict=False):
        here = slice(start, start + length)
        value, root, remaining = x[here], own[here], torch.ones_like(free[here])
        if length > 1:
            value, root = merge_trees(x[here], free[here], link_threshold, (picked + merged) * length)
            root = root + start * per_frame
            remaining = free[here] & (root == own[here])
        values.append(value)
        roots.append(root.flatten())
        left.append(remaining)
    value, remaining = torch.cat(values), torch.cat(left)
    counts = remaining.sum(dim=1).tolist()
    totals = [sum(counts[start : start + length]) for start, length in zip(starts, lengths, strict=False)]
    targets = [
        min(count, -(-count * merged * lengths[number] // max(1, totals[number]))) for count, number in zip(counts, of_segment, strict=True)
    ]
    centres, centre = _clustered(value, remaining, counts, targets)
    return _joined(patches, (picks + own[:, :1]).flatten(), centres, value.flatten(0, 1), centre, torch.cat(roots))


def told_apart(x: Tensor, received: Tensor, events: Tensor, count: int) -> Tensor:
    """In each frame `count` tokens that the vision tower attends to and that differ from each other, long [F, count], as they are picked.

    They are picked by `aim.kernels.max_min` where j is (1 - cosine of i and j) · received_j · e_j far from i. The relevance e_j is the
    product of token j with its event, the mean of its segment. It is not normalised, and where it is negative a token comes last.

    Args:
        x: [F, T, C], floating.
        received: attention [F, T].
        events: [F, C], each frame's.
        count: 1...T.
    """
    per_frame, channels = x.shape[1:]
    at_once = max(1, MEMORY_BUDGET // (torch.float32.itemsize * per_frame * (3 * per_frame + channels)))
    picks = []
    for some, attention, event in zip(x.split(at_once), received.float().split(at_once), events.split(at_once), strict=True):
        unit = normalize(some.float(), dim=-1)
        weight = attention * (some.float() @ event.float()[..., None]).squeeze(-1)
        picks.append(max_min_picks((1 - unit @ unit.mT) * weight[:, None, :], count))
    return torch.cat(picks)


def _clustered(value: Tensor, remaining: Tensor, counts: list[int], targets: list[int]) -> tuple[Tensor, Tensor]:
    """Cluster in each frame the counts[f] tokens that remain of [F, T, C] around targets[f] centres.

    Returns:
        The places of all centres, long, frame by frame; and for each place the place of its centre, long [F · T], -1 where there is none.
    """
    frames, per_frame, _ = value.shape
    ranked = (~remaining).long().argsort(dim=1, stable=True)  # those that remain first
    centres, centre = [], ranked.new_full((frames, per_frame), -1)
    for frame, (count, target) in enumerate(zip(counts, targets, strict=True)):
        if target == 0:
            continue
        places = chosen = to = ranked[frame, :count]
        if target < count:
            peaks, distances = density_peaks(value[frame, places], min(target, NEIGHBOURS), target)
            chosen = places[peaks]
            to = chosen[nearest_centres(distances, peaks)]
        centres.append(chosen + frame * per_frame)
        centre[frame].scatter_(0, places, to + frame * per_frame)
    return torch.cat(centres) if centres else ranked[:0, 0], centre.flatten()


def _joined(patches: Tensor, picked: Tensor, centres: Tensor, value: Tensor, centre: Tensor, root: Tensor) -> MergedClip:
    """The picked tokens and the means of the clusters, by place.

    Args:
        patches: [F, T, C].
        picked, centres: the places where they stand, long.
        value: [F · T, C], what is clustered.
        centre: for each place the place of its centre, or -1, long [F · T].
        root: for each place the place that it was merged into before, long [F · T].
    """
    number = torch.full_like(root, -1).scatter_(0, centres, torch.arange(len(centres), device=root.device))
    cluster = torch.where(centre < 0, -1, number[centre])
    sums, sizes = group_sums(value, cluster, len(centres))
    anchors = torch.cat([picked, centres])
    order = torch.cat([2 * picked, 2 * centres + 1]).argsort()
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    into = cluster[root]
    assignment = torch.where(into < 0, -1, rank[into + len(picked)]).scatter_(0, picked, rank[: len(picked)])
    tokens = torch.cat([patches.flatten(0, 1)[picked], (sums / sizes[:, None]).to(patches.dtype)])
    own_sizes = torch.zeros(len(order) + 1, dtype=torch.long, device=order.device)
    own_sizes.scatter_add_(0, assignment + 1, torch.ones_like(assignment))
    return MergedClip(tokens[order], assignment.view(patches.shape[:2]), own_sizes[1:], anchors[order])


def tree_merge_flops(hidden: int, vision: VisionShape, frames: int, tokens_per_frame: int) -> int:
    """FLOPs of `merge_by_trees` on F frames of T tokens of size C = `hidden`, and of what it asks of the vision tower.

    `aim.kernels.cost.received_flops`, and for each frame 4·T²·C (cosines within it and with the frame before) + 11·T·C (normalising twice,
    relevance, the mean of the frame, sums of trees and clusters) and the clustering of T tokens (`density_peaks_flops`). It is the most
    that there can be, reached where the clip is one segment and nothing is merged along time. Picking and sorting are left out.
    """
    cosines = 4 * tokens_per_frame**2 * hidden + 11 * tokens_per_frame * hidden
    return received_flops(vision, frames) + frames * (cosines + density_peaks_flops(tokens_per_frame, hidden))
