"""Keeping the most attended visual tokens of each frame as they are, and merging the others into a few at even distances (VisionZip,
arXiv 2412.04467)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aim.kernels.cost import received_flops
from aim.kernels.merging import MergedClip
from aim.kernels.shape import VisionShape
from aim.kernels.tower_attention import TowerAttention


def merge_contextual(patches: Tensor, tower: TowerAttention, dominant: int, contextual: int) -> MergedClip:
    """Leave `dominant` + `contextual` tokens of each frame (VisionZip, section 3.2, as its official code computes it).

    The `dominant` most attended tokens stay as they are. Of the R others, in raster order, every ⌊R / contextual⌋-th from the first is a
    target, until there are `contextual` of them. Each token that is neither joins the target of largest cosine, taken between the keys'
    means over heads, which are not centred. A target becomes itself plus the mean of what joined it: this is a sum, so it may be about
    twice as long as a token. All frames are merged at once, in float32, and ties go to the lower place. Beside the input, memory is
    O(F · T · (C + contextual)).

    Args:
        patches: visual tokens [F, T, C] in raster order.
        tower: the attention that they received, and their keys.
        dominant: from 0 to T.
        contextual: from 0 to T - dominant; with 0 every token that is not dominant is dropped.

    Returns:
        The clip. Each frame has its dominant tokens in raster order, then its targets in raster order.

    Raises:
        ValueError: shapes that do not fit each other, or a count out of range.
    """
    frames, num_tokens, channels = patches.shape
    rest_count, left = num_tokens - dominant, dominant + contextual
    if tower.received.shape != (frames, num_tokens) or tower.keys.shape[:2] != (frames, num_tokens):
        raise ValueError(
            f"patches have shape {tuple(patches.shape)}, attention {tuple(tower.received.shape)} and keys {tuple(tower.keys.shape)}; "
            "pass [F, T, C], [F, T] and [F, T, D] of one clip."
        )
    if not 0 <= dominant <= num_tokens or not 0 <= contextual <= rest_count or not left:
        raise ValueError(f"dominant is {dominant} and contextual {contextual}; pass numbers from 0 that add up to 1...{num_tokens}.")

    ranked = tower.received.float().argsort(dim=1, descending=True, stable=True)
    kept, rest = (part.sort(dim=1).values for part in ranked.split([dominant, rest_count], dim=1))
    assignment = torch.full((frames, num_tokens), -1, device=patches.device)
    assignment.scatter_(1, kept, torch.arange(dominant, device=patches.device).expand(frames, -1))
    tokens, places = [_rows(patches, kept)], [kept]
    if contextual:
        step = rest_count // contextual
        chosen = torch.arange(contextual, device=patches.device) * step  # indices into the rest, the same in every frame
        unit = normalize(_rows(tower.head_mean_keys(), rest), dim=-1)
        joined = (unit @ unit[:, chosen].transpose(1, 2)).argmax(dim=2)  # [F, R], indices of targets
        joined[:, chosen] = torch.arange(contextual, device=patches.device)
        assignment.scatter_(1, rest, joined + dominant)
        weights = torch.zeros(frames, contextual, rest_count, device=patches.device).scatter_(1, joined[:, None], 1.0)
        others = weights.index_fill(2, chosen, 0.0)
        weights = weights - others + others / others.sum(dim=2, keepdim=True).clamp(min=1)  # 1 for a target, 1 / n for what joined
        tokens.append((weights @ _rows(patches, rest).float()).to(patches.dtype))
        places.append(rest[:, chosen])

    frame = torch.arange(frames, device=patches.device)[:, None]
    assignment = torch.where(assignment < 0, assignment, assignment + frame * left)
    # Dropped places are counted in one row more, which is then left out.
    counted = torch.where(assignment < 0, frames * left, assignment).flatten()
    sizes = counted.new_zeros(frames * left + 1).scatter_add_(0, counted, torch.ones_like(counted))[:-1]
    anchors = torch.cat(places, dim=1) + frame * num_tokens
    return MergedClip(torch.cat(tokens, dim=1).view(-1, channels), assignment, sizes, anchors.flatten())


def _rows(values: Tensor, places: Tensor) -> Tensor:
    """The rows of [F, T, D] at the places [F, n] of each frame."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


def contextual_merge_flops(hidden: int, vision: VisionShape, frames: int, rest: int, contextual: int) -> int:
    """FLOPs of `merge_contextual`, which merges R = `rest` tokens of each frame into `contextual`.

    To `received_flops` come R·h (means of the keys over heads) and 2·R·contextual·C (the means of tokens of size C = `hidden`, as a product
    with their weights), for each frame. The cosines of these keys, which have the size of one head, and sorting are left out.
    """
    merging = frames * rest * (vision.hidden_size + 2 * contextual * hidden) if contextual else 0
    return received_flops(vision, frames) + merging
