"""Keeping the salient visual tokens of each frame, and merging the others of a segment into anchors of high density (FastVID,
arXiv 2503.11187).

How many tokens a frame is left is said by `aim.kernels.anchor_budget`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.anchor_budget import FrameBudget
from aim.kernels.cost import received_flops
from aim.kernels.density_peaks import density_peaks, density_peaks_flops
from aim.kernels.merging import MergedClip
from aim.kernels.shape import VisionShape

NEIGHBOURS = 4  # of a token, which its density is taken from


def merge_around_anchors(
    patches: Tensor, received: Tensor, segments: list[list[FrameBudget]], anchor_weight: float, anchors_join: bool
) -> MergedClip:
    """Leave the salient tokens and the anchors of each frame, and merge the others of its segment into the anchors (FastVID).

    The salient tokens of a frame are those of most attention, and they stay as they are. Its anchors are the density peaks among its other
    tokens (`aim.kernels.density_peaks`, with 4 neighbours). For each frame that has anchors, every token of the segment that is not salient
    joins the anchor of largest cosine. So one token joins an anchor in each of these frames. An anchor that n tokens joined becomes
    w · itself + (1 - w) · their mean, with w = max(1 / (n + 1), anchor_weight). Where none joined, it stays as it is.

    In the record a place belongs to one merged token only: an anchor to itself, and any other place to the anchor that it went into with
    most weight, (1 - w) / n, of equal ones to the first. A place belongs to none where its weights are 0 or its segment has no anchor.

    Frames are gone through one by one, since their counts differ. Sums are taken in float32, and ties go to the lower place. Beside the
    input, memory is O(S · T · (C + A)), with S frames in the longest segment and A anchors in a frame, and O(T²) for densities.

    Args:
        patches: visual tokens [F, T, C] in raster order.
        received: the attention that they receive, [F, T].
        segments: for each segment the budgets of its frames; a frame's add up to at most T.
        anchor_weight: from 0 to 1.
        anchors_join: whether the anchors of a frame are among the tokens that join them.

    Returns:
        The clip, its tokens in raster order.

    Raises:
        ValueError: shapes that do not fit each other, or budgets of another number of frames.
    """
    frames, num_tokens, channels = patches.shape
    if received.shape != (frames, num_tokens) or sum(map(len, segments)) != frames:
        raise ValueError(
            f"patches have shape {tuple(patches.shape)}, attention {tuple(received.shape)}, and there are budgets of "
            f"{sum(map(len, segments))} frames; pass [F, T, C], [F, T] and one budget for each frame."
        )
    flat = patches.reshape(-1, channels)
    ranked = received.float().argsort(dim=1, descending=True, stable=True)
    ranked += num_tokens * torch.arange(frames, device=patches.device)[:, None]  # places in the clip
    owner = torch.full((frames * num_tokens,), -1, device=patches.device)
    salient, anchors, merged, first = [], [], [], 0
    for budgets in segments:
        ranks = list(ranked[first : first + len(budgets)])
        salient += [row[: own.salient] for row, own in zip(ranks, budgets, strict=True)]
        rest = [row[own.salient :].sort().values for row, own in zip(ranks, budgets, strict=True)]
        joining = torch.cat(rest)
        x = flat[joining].float()
        unit, parts = normalize(x, dim=-1), x.split([len(places) for places in rest])
        most, into, start, peaks = x.new_zeros(len(joining)), torch.full_like(joining, -1), 0, []
        for part, own in zip(parts, budgets, strict=True):
            if own.anchors:
                here = density_peaks(part, NEIGHBOURS, own.anchors)[0].sort().values + start
                tokens, nearest, weights = _join(x, unit, here, anchor_weight, anchors_join)
                more = weights > most
                most, into = torch.where(more, weights, most), torch.where(more, joining[here][nearest], into)
                merged.append(tokens)
                peaks.append(here)
            start += len(part)
        if peaks:
            own_places = torch.cat(peaks)
            anchors.append(joining[own_places])
            into.index_put_((own_places,), anchors[-1])
        owner.index_put_((joining,), into)
        first += len(budgets)

    kept = torch.cat([*salient, *anchors])
    owner.index_put_((kept,), kept)
    places, order = kept.sort()
    tokens = torch.cat([flat[torch.cat(salient)], *(part.to(patches.dtype) for part in merged)])[order]
    index = torch.full_like(owner, -1).index_put_((places,), torch.arange(len(places), device=owner.device))
    assignment = torch.where(owner < 0, -1, index[owner.clamp(min=0)])
    # Dropped places are counted in one row more, which is then left out.
    counted = torch.where(assignment < 0, len(places), assignment)
    sizes = counted.new_zeros(len(places) + 1).scatter_add_(0, counted, torch.ones_like(counted))[:-1]
    return MergedClip(tokens, assignment.view(frames, num_tokens), sizes, places)


def _join(x: Tensor, unit: Tensor, anchors: Tensor, anchor_weight: float, anchors_join: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Merge tokens [n, C] of unit vectors [n, C] into those at the places `anchors`, long [a].

    Returns:
        The merged anchors [a, C]; for each token the index of the anchor that it joined, long [n], and the weight it has there, [n].
    """
    nearest = (unit @ unit[anchors].T).argmax(dim=1)
    takes = x.new_zeros(len(anchors), len(x)).scatter_(0, nearest[None], 1.0)
    if not anchors_join:
        takes.index_fill_(1, anchors, 0.0)
    joined = takes.sum(dim=1)
    own = (1 / (joined + 1)).clamp(min=anchor_weight)
    each = (1 - own) / joined.clamp(min=1)
    return own[:, None] * x[anchors] + each[:, None] * (takes @ x), nearest, each[nearest]


def anchor_merge_flops(hidden: int, vision: VisionShape, tokens_per_frame: int, segments: list[list[FrameBudget]]) -> int:
    """FLOPs of `merge_around_anchors` and of cutting the clip into segments, tokens of size C = `hidden`.

    To `received_flops` come 4·C for each of the clip's tokens (mean of a frame, normalising). To these come, for each frame with a anchors,
    `density_peaks_flops` of its tokens that are not salient, and 4·n·a·C for the n tokens of the segment that are not salient (cosines with
    the anchors, and means as a product with their weights). Sorting is left out.
    """
    flops = received_flops(vision, sum(map(len, segments)))
    for budgets in segments:
        joining = sum(tokens_per_frame - own.salient for own in budgets)
        flops += 4 * len(budgets) * tokens_per_frame * hidden
        for own in budgets:
            if own.anchors:
                flops += density_peaks_flops(tokens_per_frame - own.salient, hidden) + 4 * joining * own.anchors * hidden
    return flops
