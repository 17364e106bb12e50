"""DivPrune: keep visual tokens that differ from one another as much as possible (CVPR 2025, arXiv 2503.02175)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import exact
from aim.kernels.diversity import diverse_order, diversity_flops
from aim.kernels.dropping import kept_alone
from aim.kernels.merging import MergedClip
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept

CLIP, FRAME = "clip", "frame"


@dataclass(frozen=True)
class DivPrune(Method):
    """Keeps the tokens of which even the nearest two lie far apart, and drops all others before the LLM.

    The rule is that of vbdi/divprune (799e2d9), written anew from its description. See `aim.kernels.diversity.diverse_order` for the
    arithmetic. Nothing is merged. round(keep_ratio · n) of n tokens stay, half to even and at least one. Tokens go on in raster order,
    numbered 0, 1, 2…, and under M-RoPE they keep their positions.

    All visual tokens of a clip are one set, as in the official code. `scope="frame"` takes each frame by itself instead, which costs F
    times less and cannot see that two frames show the same.

    This method deviates from the official code: no token is picked twice, which may happen there among equal tokens; a count is at least 1;
    no more than 256 MiB of distances are held.

    Memory is O(F·T·C) for the tokens in float32, and at most 256 MiB, or one row, of distances. These are all of them up to 8,192 tokens.
    In a longer clip the distances from a pick are computed anew. Time is O((F·T)²·C), and the picks come one after the other. No vision
    tower is read.
    """

    keep_ratio: float = share_kept(0.1)
    scope: str = knob(
        CLIP,
        "Tokens are compared within",
        "Whether tokens are to differ from those of the whole clip, or only from those of their own frame.",
        choices=(("the whole clip", CLIP), ("each frame alone", FRAME)),
        advice="The default is clip.",
    )

    name = "divprune"
    positions = "compact"

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        frames, per_frame, channels = patches.shape
        groups, tokens, count = self._sets(frames, per_frame)
        if count == tokens:
            return None
        order = diverse_order(patches.reshape(groups, tokens, channels), count)
        first = torch.arange(0, frames * per_frame, tokens, device=patches.device)[:, None]
        return kept_alone(patches, (order + first).flatten().sort().values)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        groups, _, count = self._sets(frames, tokens_per_frame)
        return groups * count

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        groups, tokens, count = self._sets(frames, tokens_per_frame)
        return 0 if count == tokens else diversity_flops(shape.hidden_size, groups, tokens, count)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)

    def _sets(self, frames: int, per_frame: int) -> tuple[int, int, int]:
        """(sets of tokens, tokens of each, how many of them stay)."""
        groups, tokens = (1, frames * per_frame) if self.scope == CLIP else (frames, per_frame)
        return groups, tokens, max(1, round(exact(self.keep_ratio) * tokens))
