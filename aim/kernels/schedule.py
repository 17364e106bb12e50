"""How many visual tokens are left after merging, and in each layer of the LLM, in plain numbers without tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from aim.kernels.bounds import FROM_0, FROM_1, SHARE, Bounds, check_choice
from aim.kernels.counts import Share, exact, tokens_of
from aim.kernels.refusal import Refusal

# How a merging chain goes on from step to step, see `merge_steps`.
MERGE_ORDERS = ("raster", "official")

_KEPT = Bounds(0, 1)
Number = TypeVar("Number", int, float)


def ramp(num_layers: int, l1: int, l2: int) -> list[Fraction]:
    """The linear schedule of dropping (AIM, arXiv 2412.03248, the scheduler of section 3.3).

    keep(i) = 1 for i < l1 and max(0, 1 - (i - l1 + 1) / (l2 - l1)) for i ≥ l1: layers ≥ l2 - 1 run on no visual token. Layer 0 always keeps
    everything, since no attention has been seen before it; with l1 = 0 dropping therefore starts at layer 1, where the ramp then is.

    Args:
        num_layers: layers of the LLM, at least 1.
        l1: first layer at which tokens are dropped, ≥ 0; with l1 ≥ num_layers nothing is dropped.
        l2: where the ramp would reach zero, > l1; may lie beyond the last layer.

    Returns:
        For each layer the share, in [0, 1], of the merged visual tokens that it runs on, as an exact fraction; never rising.

    Raises:
        Refusal: l1 < 0, l1 ≥ l2 or num_layers < 1.
    """
    FROM_1.check("num_layers", num_layers, "Pass the LLM's number of layers.")
    check_ramp(l1, l2)
    first, last = int(l1), int(l2)
    return [Fraction(1) if i < max(first, 1) else max(Fraction(0), 1 - Fraction(i - first + 1, last - first)) for i in range(num_layers)]


def check_ramp(l1: int, l2: int) -> None:
    """Refuse layers that no ramp has.

    Raises:
        Refusal: unless 0 ≤ l1 < l2.
    """
    FROM_0.check("l1", l1, "Layers are counted from 0.")
    if l1 >= l2:
        raise Refusal(f"l1 is {l1} and l2 is {l2}; accepted: l1 < l2, since dropping ends after it starts. Raise l2 or lower l1.")


def drop_once(num_layers: int, layer: int, before: Number, after: Number) -> list[Number]:
    """For each layer a number: `before` in layers 0…layer-1 and `after` in the rest; with layer ≥ num_layers nothing is dropped."""
    return [before if i < layer else after for i in range(num_layers)]


def spread_evenly(total: int, frames: int) -> list[int]:
    """Share `total` tokens out over the frames so that no two differ by more than one: (7, 3) → [2, 2, 3].

    Raises:
        ValueError: frames < 1 or total < frames.
    """
    if not 1 <= frames <= total:
        raise ValueError(f"total is {total} and frames {frames}; each frame gets at least 1 token. Pass at least as many tokens as frames.")
    return [total * (frame + 1) // frames - total * frame // frames for frame in range(frames)]


def tokens_kept(keep: Sequence[Share], visual_tokens: int) -> list[int]:
    """Visual tokens each layer runs on: ⌊keep(i) · N⌋ (`aim.kernels.counts`), as the paper's FLOPs table counts them.

    Args:
        keep: share of the tokens per layer, each in [0, 1] (see `ramp`).
        visual_tokens: N, the visual tokens entering the LLM, ≥ 0.

    Raises:
        Refusal: a share outside [0, 1] or a negative number of tokens.
    """
    FROM_0.check("visual_tokens", visual_tokens, "Pass the number after merging.")
    for share in keep:
        _KEPT.check("the share that a layer keeps", share, "Check the schedule.")
    return [tokens_of(share, visual_tokens) for share in keep]


def once_scored(kept: list[int], merged: int, scored_from: int) -> list[int]:
    """`kept`, the visual tokens of each layer, where nothing can be chosen before layer `scored_from` has been scored.

    Layers up to that one run on all `merged` tokens wherever some were to stay. Where none was to stay, nothing has to be chosen.
    """
    return [merged if layer <= scored_from and count else count for layer, count in enumerate(kept)]


def merged_per_frame(merge_ratio: float, tokens_per_frame: int, merge_order: str = "raster") -> int:
    """Tokens merging leaves of one frame of T tokens, at least 1.

    "raster" leaves ⌊merge_ratio · T⌋, as the paper's FLOPs table counts (196 → 98, 49, 24, 12, 6, 3). "official" leaves what the official
    chain does, whose step k removes ⌊T / 2^k⌋ (196 → 98, 49, 25, 13, 7, 4; 49 → 25, 13, 7). A ratio between two powers of 1/2 removes
    ⌊(2^-k - merge_ratio) · T⌋ in the last step, so that 0.4375 leaves the 252 of 576 tokens of the paper's LLaVA-1.5.

    Raises:
        Refusal: merge_ratio outside (0, 1], tokens_per_frame < 1, or an unknown merge_order.
    """
    SHARE.check("merge_ratio", merge_ratio, "Use 1 to merge nothing.")
    FROM_1.check("tokens_per_frame", tokens_per_frame, "Pass what the vision tower makes of one frame.")
    check_merge_order(merge_order)
    if merge_order == "raster":
        return max(1, tokens_of(merge_ratio, tokens_per_frame))
    wanted, reached, left = exact(merge_ratio), Fraction(1), tokens_per_frame
    while wanted < reached:
        following = max(wanted, reached / 2)
        left -= tokens_of(reached - following, tokens_per_frame)
        reached = following
    return left


def merge_steps(tokens: int, target: int, merge_order: str = "raster", largest_step: float = 0.5) -> Iterator[int]:
    """How many tokens each step of a merging chain removes, from `tokens` down to `target` of a window.

    A step of "raster" removes ⌊largest_step · t⌋ of the t tokens that there are, half of them by default, and at least 1. Step k of
    "official" removes ⌊T / 2^k⌋ of the T there were at first. The last step of either removes what is left to remove.
    """
    left, official = tokens, tokens
    while left > target:
        official //= 2
        half = max(1, tokens_of(largest_step, left)) if merge_order == "raster" else min(max(official, 1), left // 2)
        removed = min(half, left - target)
        yield removed
        left -= removed


def check_merge_order(merge_order: str) -> None:
    """Refuse an unknown chain.

    Raises:
        Refusal: unless it is in `MERGE_ORDERS`.
    """
    check_choice("merge_order", merge_order, MERGE_ORDERS, "The default is raster.")


def frame_windows(frames: int, merge_window: int) -> list[tuple[int, int]]:
    """Cut a clip into windows of frames that are merged together, as (number of windows, frames in each) in clip order.

    All windows are `merge_window` frames long except a shorter last one where the frames do not divide: (10, 4) → [(2, 4), (1, 2)].

    Raises:
        Refusal: frames < 1 or merge_window < 1.
    """
    FROM_1.check("frames", frames, "Pass the number of sampled frames.")
    FROM_1.check("merge_window", merge_window, "Use 1 (frame by frame, as the paper does) or a few frames.")
    whole, rest = divmod(frames, merge_window)
    return [(windows, length) for windows, length in ((whole, merge_window), (1, rest)) if windows and length]


def merged_per_clip(merge_ratio: float, frames: int, tokens_per_frame: int, merge_window: int = 1, merge_order: str = "raster") -> int:
    """Tokens merging leaves of a whole clip: `merged_per_frame` of each window of frames, summed.

    Raises:
        Refusal: as `merged_per_frame` and `frame_windows`.
    """
    return sum(
        windows * merged_per_frame(merge_ratio, length * tokens_per_frame, merge_order)
        for windows, length in frame_windows(frames, merge_window)
    )


@dataclass(frozen=True)
class StatedRamp:
    """An l1 and l2, 0 ≤ l1 < l2, as they were stated for a model with that many layers."""

    l1: int
    l2: int
    layers: int

    def at(self, num_layers: int) -> tuple[int, int]:
        """(l1, l2) carried to a model with `num_layers`, see `scale_to_depth`."""
        return scale_to_depth(self.l1, self.l2, num_layers, self.layers)


# The paper's for LLaVA-OneVision-7B. Families that it has others for name them (`aim.families`).
PAPER_RAMP = StatedRamp(14, 22, 28)


def scale_to_depth(l1: int, l2: int, num_layers: int, paper_layers: int = 28) -> tuple[int, int]:
    """Carry layers stated for a `paper_layers`-deep model to one with `num_layers`: l · num_layers / paper_layers, rounded, halves up.

    Returns:
        (l1, l2) with 0 ≤ l1 < l2, whatever rounding does: l2 is raised where both would fall together.

    Raises:
        Refusal: l1 < 0, l1 ≥ l2, or a depth below 1.
    """
    check_ramp(l1, l2)
    FROM_1.check("num_layers", num_layers, "Pass the model's number of layers.")
    FROM_1.check("paper_layers", paper_layers, "Pass the number of layers that l1 and l2 were stated for.")
    first, last = (layer_at_depth(layer, num_layers, paper_layers) for layer in (l1, l2))
    return first, max(last, first + 1)


def layer_at_depth(layer: int, num_layers: int, stated_layers: int) -> int:
    """Carry a layer stated for a `stated_layers`-deep model to one with `num_layers`: layer · num_layers / stated_layers, halves up."""
    return (2 * layer * num_layers + stated_layers) // (2 * stated_layers)
