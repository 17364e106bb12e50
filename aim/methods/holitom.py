"""HoliTom: merge what stands still in the windows that save the most tokens (NeurIPS 2025, arXiv 2505.21334)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from torch import Tensor

from aim.kernels.bounds import SHARE, Bounds
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import exact
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.still_merging import merge_what_stands_still, still_merge_flops
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class HoliTom(Method):
    """Places that stand still in a window of frames become one token each, and alike ones merge. Of what moves, the most attended stays.

    The clip is cut into the windows whose still places save the most tokens (section 3.2 of the paper), and what that saves raises the
    share that is kept. The still tokens of a window are clustered by density peaks, around that share of them. Each frame keeps that share
    of its other tokens, those that the vision tower attends to most (section 3.3).
    `aim.kernels.still_merging.merge_what_stands_still` has the rules, and says what the record holds.

    The official code is cokeshao/HoliTom (e9b2972). This is its outer half, which works before the LLM.

    `merged_tokens` is exact for a clip in which nothing stands still. Elsewhere the number differs by the rounding of each frame and
    window. It is smaller where so much stands still that all the rest is kept.

    It deviates from the official code:
    - Counts are the exact numbers, and among equals the lower index wins. There noise decides among centres.
    - Still places of which not one is to be left are dropped.
    - With a keep_ratio of 1 nothing is merged, not even what stands still.
    - A window may be longer than 1,024 frames.
    - Its switch D, which is off by default and merges tokens that move, is left out.
    - On towers with a CLS token, attention is what CLS pays. Elsewhere it is the mean that the frame's tokens pay, as there.

    It takes O(F² + T² + F·T·C) memory. The windows depend on the clip, so the host waits for the GPU once.
    """

    keep_ratio: float = knob(
        0.1,
        "Tokens kept (keep ratio)",
        "Share of the clip's visual tokens that is kept.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to keep all.",
        advanced=False,
    )
    still_threshold: float = knob(
        0.8,
        "Similarity of what stands still",
        "Cosine with the next frame above which a place stands still.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.8. The authors take 0.65 where a tenth is kept.",
        planned=False,
    )
    centre_weight: float = knob(
        0.6,
        "Weight of a cluster's centre",
        "What a centre counts in its cluster. The others' mean counts the rest.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.6.",
        planned=False,
    )

    name = "holitom"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        if self.keep_ratio == 1:
            return None
        if tower is None:
            raise Refusal("HoliTom ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        return merge_what_stands_still(patches, tower.received, self.keep_ratio, self.still_threshold, self.centre_weight)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return frames * ceil(exact(self.keep_ratio) * tokens_per_frame)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        return 0 if self.keep_ratio == 1 else still_merge_flops(shape.hidden_size, vision, frames, tokens_per_frame)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
