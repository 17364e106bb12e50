"""What stands still is merged along time and then by likeness, and of what moves the most attended stays (HoliTom, arXiv 2505.21334)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from aim.kernels.cost import received_flops
from aim.kernels.counts import Share, exact
from aim.kernels.density_peaks import density_peaks, density_peaks_flops, nearest_centres
from aim.kernels.group_sums import group_sums
from aim.kernels.merging import MergedClip
from aim.kernels.shape import VisionShape
from aim.kernels.still_windows import best_windows, still_counts, still_steps

NEIGHBOURS = 7


def merge_what_stands_still(patches: Tensor, received: Tensor, keep_ratio: Share, threshold: float, centre_weight: float) -> MergedClip:
    """Leave about the share `keep_ratio` of a clip's tokens.

    1. The clip is cut into windows (`aim.kernels.still_windows`). In a window of several frames, the tokens of each place that stands still
       throughout are averaged into one. In a window of one frame nothing does.
    2. The share is raised to R' = keep_ratio · N / (N - what step 1 saved), at most 1.
    3. In each window, round(n · R') of the n averaged tokens become centres (`aim.kernels.density_peaks`), and the others go to the
       nearest. A centre that others go to counts `centre_weight`, and their mean the rest.
    4. In each frame, of the n other tokens the ⌈n · R'⌉ that receive most attention stay as they are.

    The record says of a place that stands still, in every frame of its window, that it belongs to its centre. Where round(n · R') is 0 the
    still places are dropped, as are in step 4 all tokens that do not stay.

    The windows decide the number of tokens, so the host waits once. It takes O(F² + T²) memory beside O(F·T·C).

    Args:
        patches: projected visual tokens [F, T, C] in raster order.
        received: the attention that they receive, [F, T].
        keep_ratio: above 0, up to 1.
        threshold: the cosine above which a place stands still from one frame to the next.
        centre_weight: from 0 to 1.

    Returns:
        The tokens window by window: the still ones, which stand in the window's first frame, and then the others frame by frame, each by
        place. So anchors need not ascend.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    frames, per_frame, _ = patches.shape
    if received.shape != (frames, per_frame):
        raise ValueError(
            f"patches have shape {tuple(patches.shape)} and attention {tuple(received.shape)}; pass [F, T, C] and [F, T] of one clip."
        )
    steps = still_steps(patches, threshold)
    counts = still_counts(steps)
    windows, saved = best_windows(counts)
    total = frames * per_frame
    share = min(Fraction(1), exact(keep_ratio) * total / (total - saved))
    tokens, anchors, assignments, before = [], [], [], 0
    for first, last in windows:
        x, attention = patches[first : last + 1].float(), received[first : last + 1].float()
        length = last - first
        still = (steps[last] >= length) if length else torch.zeros_like(steps[last], dtype=torch.bool)
        count = counts[last][length] if length else 0
        merged, standing, centre = _still(x, still, count, round(count * share), centre_weight)
        staying = ceil((per_frame - count) * share)
        ranked = attention.masked_fill(still, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :staying].sort(dim=1).values
        offsets = torch.arange(first, last + 1, device=patches.device)[:, None] * per_frame
        there = (ranked + offsets).flatten()
        tokens += [merged.to(patches.dtype), patches.flatten(0, 1)[there]]
        anchors += [standing + first * per_frame, there]
        into = torch.where(centre < 0, -1, centre + before).expand(length + 1, per_frame)
        numbers = torch.arange(len(there), device=patches.device) + before + len(standing)
        assignments.append(into.scatter(1, ranked, numbers.view(length + 1, staying)))
        before += len(standing) + len(there)
    assignment = torch.cat(assignments)
    sizes = assignment.new_zeros(before + 1).scatter_add_(0, assignment.flatten() + 1, torch.ones_like(assignment.flatten()))
    return MergedClip(torch.cat(tokens), assignment, sizes[1:], torch.cat(anchors))


def _still(x: Tensor, still: Tensor, count: int, target: int, centre_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the `count` places of a window [L, T, C] that are `still` [T] into `target` tokens.

    Returns:
        The tokens [target, C]; the places where they stand, long [target], ascending; and for each place the index of its token, long [T],
        -1 for a place that moves or is dropped.
    """
    owner = torch.full_like(still, -1, dtype=torch.long)
    places = (~still).long().argsort(stable=True)[:count]
    if target == 0:
        return x[0, :0], places[:0], owner
    means = x[:, places].mean(dim=0)
    peaks, distances = density_peaks(means, min(NEIGHBOURS, target), target)
    peaks = peaks.sort().values
    nearest = nearest_centres(distances, peaks)
    # The centre itself is in no mean of those that go to it.
    joining = nearest.scatter(0, peaks, -1)
    sums, sizes = group_sums(means, joining, target)
    centres = means[peaks]
    mixed = centre_weight * centres + (1 - centre_weight) * sums / sizes.clamp(min=1)[:, None]
    return torch.where(sizes[:, None] > 0, mixed, centres), places[peaks], owner.scatter_(0, places, nearest)


def still_merge_flops(hidden: int, vision: VisionShape, frames: int, tokens_per_frame: int) -> int:
    """FLOPs of `merge_what_stands_still` on F frames of T tokens of size C = `hidden`, and of what it asks of the vision tower.

    `aim.kernels.cost.received_flops`, 8·F·T·C (cosines with the frame before, and means), and the clustering of T tokens
    (`density_peaks_flops`) in each of ⌊F / 2⌋ windows. It is the most that there can be, reached where all places stand still and windows
    have two frames. Sorting is left out.
    """
    clustering = (frames // 2) * density_peaks_flops(tokens_per_frame, hidden)
    return received_flops(vision, frames) + 8 * frames * tokens_per_frame * hidden + clustering
