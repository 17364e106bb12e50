"""PruMerge: keep the visual tokens the vision tower attends to most and merge similar ones into them (ICCV 2025, arXiv 2403.15388)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.attention_merging import NEIGHBOURS, count_outliers, merge_by_attention
from aim.kernels.bounds import SHARE
from aim.kernels.cost import ModelShape, VisionShape, attention_merge_flops
from aim.kernels.counts import tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import spread_evenly
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class PruMerge(Method):
    """In each frame the tokens of outlying attention stay and absorb the 32 tokens nearest by their keys. One more token holds the rest.

    See `aim.kernels.attention_merging.merge_by_attention` for the arithmetic. This method deviates from the official code: SigLIP and
    Qwen's towers have no CLS token, so a token's attention is the mean that the frame's tokens pay it; heads are averaged after the
    softmax; tokens come after pooling and projection, in raster order instead of by score, and are numbered 0, 1, 2…; under M-RoPE they
    keep their positions. `PruMerge(keep_ratio=0.2583)`, 1,620 tokens for 32 frames, costs the 23.65 TFLOP of AIM's table.

    A keep_ratio leaves ⌊keep_ratio · F·T⌋ tokens, at least one a frame, spread evenly over the frames. Without one the paper's own count
    is taken: for each frame the tokens whose attention is above the third quartile by more than 1.5 interquartile ranges, and the one for
    the rest. That count is not known before the clip is seen, so a plan without a keep_ratio is refused.
    """

    keep_ratio: float | None = knob(
        None,
        "Tokens kept (keep ratio)",
        "Share of the clip's visual tokens that is kept.",
        bounds=SHARE,
        step=0.005,
        unset="the paper's own count, which depends on the clip",
        advice="Use 1 to keep all.",
        advanced=False,
    )

    name = "prumerge"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None) -> MergedClip | None:
        if self.keep_ratio == 1:
            return None
        if tower is None:
            raise Refusal("PruMerge ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        if self.keep_ratio is None:
            return merge_by_attention(patches, tower, [count + 1 for count in count_outliers(tower.received)])
        frames, tokens_per_frame = patches.shape[:2]
        return merge_by_attention(patches, tower, spread_evenly(self.merged_tokens(frames, tokens_per_frame), frames))

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        if self.keep_ratio is None:
            raise Refusal(
                "PruMerge without a keep_ratio keeps as many tokens as the clip's attention has outliers, which no plan can know. "
                "Give a keep_ratio, for example 0.25."
            )
        return max(frames, tokens_of(self.keep_ratio, frames * tokens_per_frame))

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        if self.keep_ratio == 1:
            return 0
        return attention_merge_flops(shape.hidden_size, vision, frames, tokens_per_frame, merged_tokens, NEIGHBOURS)

    def dials(self, num_layers: int) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
