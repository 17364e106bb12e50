"""Windows of frames in which much stands still: the partition of a clip that saves the most tokens (HoliTom, arXiv 2505.21334)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity


def still_steps(patches: Tensor, threshold: float) -> Tensor:
    """For how many steps from frame to frame each place has stood still when a frame comes, long [F, T]; 0 in the first frame.

    A place of [F, T, C] stands still from one frame to the next where the cosine of its two tokens is above `threshold`. So in a window of
    L frames it stands still throughout where it has for at least L - 1 steps in the last of them.
    """
    still = cosine_similarity(patches[1:].float(), patches[:-1].float(), dim=-1) > threshold
    still = torch.cat([torch.zeros_like(patches[:1, :, 0], dtype=torch.bool), still])
    frame = torch.arange(len(patches), device=patches.device)[:, None]
    return frame - torch.where(still, 0, frame).cummax(dim=0).values


def still_counts(steps: Tensor) -> list[list[int]]:
    """How many places stand still throughout a window: [last frame][steps], from `still_steps`. The host waits for these F² numbers."""
    frames = len(steps)
    exactly = steps.new_zeros(frames, frames).scatter_add_(1, steps, torch.ones_like(steps))
    return exactly.flip(1).cumsum(dim=1).flip(1).tolist()


def best_windows(counts: list[list[int]]) -> tuple[list[tuple[int, int]], int]:
    """The windows (first frame, last frame) whose still places save the most tokens, and how many they save.

    A window of L frames saves L - 1 tokens for each place that stands still in it. Best partitions of ever more frames are found one from
    the other. Among equals the last window is the shortest.

    Args:
        counts: [last frame][steps], as `still_counts` returns them.
    """
    best, first_of = [0], [0]  # of the frames before a frame, and where their last window begins
    for last, row in enumerate(counts):
        saved, start = best[last], last
        for steps in range(1, last + 1):
            candidate = best[last - steps] + row[steps] * steps
            if candidate > saved:
                saved, start = candidate, last - steps
        best.append(saved)
        first_of.append(start)
    windows, end = [], len(counts)
    while end:
        windows.append((first_of[end], end - 1))
        end = first_of[end]
    return windows[::-1], best[-1]
