"""PruMerge: keep the visual tokens the vision tower attends to most and merge similar ones into them (ICCV 2025, arXiv 2403.15388)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.attention_merging import (
    NEIGHBOURS,
    attended_and_even_places,
    count_outliers,
    merge_around,
    most_attended,
    outliers_and_even_places,
)
from aim.kernels.cost import ModelShape, VisionShape, attention_merge_flops
from aim.kernels.counts import tokens_of
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, spread_evenly
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept


@dataclass(frozen=True)
class PruMerge(Method):
    """In each frame the tokens of outlying attention stay and absorb the 32 tokens nearest by their keys. One more token holds the rest.

    A token's attention is what CLS pays it in the tower's last layer, as in the official code, where the tower has a CLS token (LLaVA-1.5,
    InternVL). SigLIP and Qwen's towers have none. There it is the mean that the frame's tokens pay it in the last layer that the projector
    sees. See `aim.kernels.attention_merging.merge_around` for the arithmetic. `plus` is PruMerge+, which the official code calls by
    default: with the outliers it keeps tokens at even distances.

    This method deviates from the official code: heads are averaged after the softmax, where it joins them before; on towers that pool, such
    as SigLIP's, attention, keys and tokens are taken after pooling; tokens come in raster order instead of by score, and are numbered 0, 1,
    2…; under M-RoPE they keep their positions; frames with no outlier, or with so many that `plus` makes it fail, are merged all the same.

    It also deviates from AIM's port of PruMerge to SigLIP, whose 23.65 TFLOP AIM's table has and `PruMerge(keep_ratio=0.2583)` costs (1,620
    tokens for 32 frames): the port takes the softmax of the mean query with heads joined, over the 27 x 27 patches before pooling. The two
    keep sets of tokens whose intersection is 0.34 to 0.57 of their union.

    A keep_ratio leaves ⌊keep_ratio · F·T⌋ tokens, at least one a frame, spread evenly over the frames; with `plus` three quarters of them
    stand at even distances, which is the official share where outliers are few. Without one the paper's own count is taken: for each frame
    the tokens whose attention is above the third quartile by more than 1.5 interquartile ranges, and the one for the rest. That count is
    not known before the clip is seen, so a plan without a keep_ratio is refused.
    """

    keep_ratio: float | None = share_kept(None, unset="the paper's own count, which depends on the clip")

    plus: bool = knob(
        False,
        "PruMerge+",
        "Also keep tokens at even distances over the frame, about three for each one of outlying attention.",
        choices=(("off", False), ("on", True)),
        advice="The default is off.",
    )

    name = "prumerge"
    positions = "compact"
    needs_tower = True

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        if self.keep_ratio == 1:
            return None
        if tower is None:
            raise Refusal("PruMerge ranks tokens by the vision tower's attention, and none was given. Use a model whose tower shows it.")
        return merge_around(patches, tower, self._kept(tower.received))

    def _kept(self, received: Tensor) -> list[Tensor]:
        """The places that stay of each frame; the one token for the rest comes on top."""
        if self.keep_ratio is None:
            return outliers_and_even_places(received) if self.plus else most_attended(received, count_outliers(received))
        frames, tokens_per_frame = received.shape
        counts = [count - 1 for count in spread_evenly(self.merged_tokens(frames, tokens_per_frame), frames)]
        return (attended_and_even_places if self.plus else most_attended)(received, counts)

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

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
