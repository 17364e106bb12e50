"""FrameFusion: average tokens into the one before them at their place, layer by layer, then drop once (ICCV 2025, arXiv 2501.01986)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from torch import Tensor

from aim.kernels.bounds import Bounds
from aim.kernels.cost import ModelShape, last_token_flops
from aim.kernels.counts import exact
from aim.kernels.importance import last_token_attention
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.still_fusion import fuse, fusion_flops, next_count, still_to_drop
from aim.methods.base import Method
from aim.methods.cut import Cut, Kept
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.usual_knobs import share_kept

MANY = 10**6  # tokens of which a share is told to six digits


@dataclass(frozen=True)
class FrameFusion(Method):
    """Before each of the first layers, tokens that repeat the one before them at their place are averaged into it. Then one cut follows.

    Merging goes on from layer 0 as long as a layer finds a tenth of its tokens to merge. Then the next cut keeps the tokens that the
    prompt's last token attends to most in the layer before, the mean over heads, as many as make all layers run on the share `keep_ratio`
    of the tokens on average. Where merging alone meets that budget, nothing is dropped. Tokens keep their positions. See
    `aim.kernels.still_fusion` for the rules. It takes O(n·C) memory. The repository is thu-nics/FrameFusion.

    How many tokens a layer runs on depends on the clip, and the host waits for the device once in each layer that merges. A plan takes the
    course in which nothing repeats: all tokens in layer 0, and the cut before layer 1. On average over the layers it is as dear as others.

    This method deviates from the official code:
    - It cuts where a layer begins. There it cuts after a layer's attention, so that the same layer's MLP already runs on fewer tokens.
    - The budget is that of the model's depth. There 28 layers are written into the code.
    - Where the layers so far have cost all the budget, one token stays. There it raises.
    - A layer of linear attention scores nothing, so the cut waits for the first layer that does.
    - Images of one size count as frames.
    """

    keep_ratio: float = share_kept(0.3, "Share of the visual tokens that a layer runs on, on average over all layers.", "Cost (keep ratio)")
    similarity: float = knob(
        0.6,
        "Similarity of a repeated token",
        "Cosine with the token before it at its place from which a token is merged into that one.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.6.",
        planned=False,
    )
    least_share: float = knob(
        0.1,
        "Least share to merge",
        "Merging ends at the layer that merges less than this share of its tokens.",
        bounds=Bounds(0, 1),
        step=0.05,
        advice="The default is 0.1.",
        planned=False,
    )

    name = "framefusion"
    decides = True

    def decided(self, counts: list[int], num_layers: int) -> int | None:
        if self.keep_ratio == 1:
            return counts[-1]
        return next_count(counts, exact(self.keep_ratio), num_layers, exact(self.least_share))

    def decide(self, cut: Cut) -> Kept:
        shares = [1 - Fraction(after, before) for before, after in pairwise(cut.counts)]
        tokens = len(cut.visual)
        most = int(still_to_drop(shares, exact(self.keep_ratio), cut.layers) * tokens)
        chosen, states, into = fuse(cut.hidden[cut.visual], cut.spots, self.similarity, min(most, tokens - 1))
        return Kept(chosen, states, into)

    def runs_on(self, num_layers: int, merged_tokens: int, scored_from: int = 0) -> list[int]:
        """See `Method.runs_on`. It is the course in which no token repeats another."""
        counts = [merged_tokens]
        while len(counts) <= num_layers:
            target = self.decided(counts, num_layers)
            counts.append(counts[-1] if target is None or len(counts) - 1 <= scored_from else target)
        return counts[1:]

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return self.runs_on(num_layers, merged_tokens)

    def keep(self, num_layers: int) -> list[Fraction]:
        return [Fraction(count, MANY) for count in self.kept(num_layers, MANY)]

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        """See `Method.score_flops`. To the score comes what one layer's merging takes."""
        return last_token_flops(shape, lengths) + sum(fusion_flops(shape.hidden_size, tokens) for tokens in lengths)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "keep_ratio", RATIOS)
