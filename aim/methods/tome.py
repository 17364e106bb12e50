"""ToMe: merge similar visual tokens into means weighted by size, in one shot before the LLM (ICLR 2023, arXiv 2210.09461)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from aim.kernels.bounds import SHARE
from aim.kernels.cost import ModelShape, VisionShape, merge_flops
from aim.kernels.merging import MergedClip, merge_clip
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, merged_per_clip, merged_per_frame
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class ToMe(Method):
    """Bipartite matching within each frame, repeated until the target is met; a merged token is the mean of its patches.

    The paper merges a few tokens in every block of the vision tower. There it would break the grid that video models pool, so here the
    projected tokens are merged, all at once. This method therefore deviates from the paper: similarity is that of the embeddings, not of
    the keys; log(size) is not added to any attention; a step removes half of the tokens, or as many as the target asks for; tokens go on by
    their places, where the official code goes on with [unmerged; merged into]. Of 196 tokens the pairs that share one are then the same at
    49, and overlap by 0.56 (intersection over union) at 13. Kept tokens are numbered 0, 1, 2… in raster order, as AIM's are. The weights
    are the only difference from AIM's merging. The default ratio is AIM's, because the paper only states how many tokens each block
    removes.
    """

    merge_ratio: float = knob(
        0.25,
        "Tokens kept after merging (merge ratio)",
        "Share of each frame's visual tokens that merging leaves.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to merge nothing.",
        advanced=False,
    )

    name = "tome"
    positions = "compact"

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        return None if self.merge_ratio == 1 else merge_clip(patches, self.merge_ratio, weighted=True)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return merged_per_clip(self.merge_ratio, frames, tokens_per_frame)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        target = merged_per_frame(self.merge_ratio, tokens_per_frame)
        return merge_flops(shape.hidden_size, frames, tokens_per_frame, target, weighted=True)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "merge_ratio", RATIOS)
