"""How many visual tokens each frame of a clip is left, where the frames of a segment share a budget (FastVID, arXiv 2503.11187).

A frame has salient tokens, which stay as they are, and anchors, which the segment's other tokens are merged into. Plain numbers, without
tensors.
"""

from __future__ import annotations

from typing import NamedTuple

from aim.kernels.counts import Share, tokens_of


class FrameBudget(NamedTuple):
    """Tokens that are left of one frame."""

    salient: int
    anchors: int


def budget_by_frame(lengths: list[int], tokens_per_frame: int, left: int, context_share: Share, step: int) -> list[list[FrameBudget]]:
    """Every frame has the same number of salient tokens, and some have anchors (FastVID for LLaVA-OneVision).

    Of the m = `left` tokens a frame, c = ⌊context_share · m⌋ are for anchors. In a segment of L frames the last one and every `step`-th
    before it are anchor frames, n in all, and each has ⌊c · L / n⌋ anchors; the remainder is lost. Where a frame would have more anchors
    than tokens that are not salient, the step is made shorter until it has not.

    Args:
        lengths: frames of each segment.
        tokens_per_frame: T.
        left: m, from 0 to T.

    Returns:
        For each segment the budgets of its frames.
    """
    context = tokens_of(context_share, left)
    salient, segments = left - context, []
    for length in lengths:
        fitting = (s for s in range(step, 1, -1) if context * length // len(range(0, length, s)) <= tokens_per_frame - salient)
        chosen = set(range(length - 1, -1, -next(fitting, 1)))
        each = context * length // len(chosen)
        segments.append([FrameBudget(salient, each if frame in chosen else 0) for frame in range(length)])
    return segments


def budget_by_segment(
    lengths: list[int], tokens_per_frame: int, left: int, context_share: Share, step: int, alike: list[bool] | None = None
) -> list[list[FrameBudget]]:
    """The frames of a segment that differ from the next share its tokens, and all others have none (FastVID for Qwen2.5-VL).

    A segment of L frames has m · L tokens with m = `left`. max(1, ⌊context_share · m · L⌋) of them are anchors. Frames that are alike form
    a run, of which only the last frame has tokens. The salient tokens are spread over the runs, and the anchors over the last run and every
    `step`-th before it. What does not divide goes to the first runs, and for anchors to the last. A frame has at most ⌊T / 2⌋ anchors and
    no more salient tokens than its anchors leave, so part of the budget may be lost. A segment of one frame has both without these limits.

    Args:
        alike: for every frame of the clip but the last, whether it is so like the next that they form a run. None stands for no such frame.

    Returns:
        For each segment the budgets of its frames.
    """
    segments, first = [], 0
    for length in lengths:
        end = first + length - 1
        runs = [frame - first for frame in range(first, end + 1) if frame == end or not (alike and alike[frame])]
        context = max(1, tokens_of(context_share, left * length))
        places, limit = runs[::-1][::step], tokens_per_frame // 2 if length > 1 else tokens_per_frame
        anchors = {frame: min(count, limit) for frame, count in zip(places, _shared(context, len(places)), strict=True)}
        salient = dict(zip(runs, _shared(left * length - context, len(runs)), strict=True))
        budgets = []
        for frame in range(length):
            own = anchors.get(frame, 0)
            budgets.append(FrameBudget(min(salient.get(frame, 0), tokens_per_frame - own), own))
        segments.append(budgets)
        first = end + 1
    return segments


def _shared(total: int, parts: int) -> list[int]:
    """`total` in equal parts, of which the first are one larger where it does not divide."""
    return [total // parts + (part < total % parts) for part in range(parts)]
