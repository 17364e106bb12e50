"""SparseVLM: at three depths, drop what the question's tokens attend to least, and recycle some of it (ICML 2025, arXiv 2410.04417)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from torch import Tensor

from aim.kernels.bounds import FROM_1
from aim.kernels.cost import ModelShape
from aim.kernels.counts import exact, tokens_of
from aim.kernels.rating import question_raters, rated_attention, rating_flops
from aim.kernels.recycling import left_of, recycle, recycling_flops
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, layer_at_depth
from aim.methods.base import Method
from aim.methods.cut import Cut, Kept, highest
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob
from aim.methods.published import PAPER_TEXT_TOKENS
from aim.methods.usual_knobs import share_kept

# The official setting that keeps 192 tokens on average: tokens kept at each cut, of 576, and the layers of the cuts, of 32.
COUNTS, AVERAGE = (300, 200, 110), 192
STAGES, DEPTH = (3, 7, 16), 32
MANY = 10**6


@dataclass(frozen=True)
class SparseVLM(Method):
    """Three cuts. Each keeps the tokens that the question's raters attend to most, and a few clusters of the best of the others.

    Raters are the question's tokens that have most to do with the pictures, by the LLM's input embeddings. A token's score is the attention
    that they pay it in the layer before the cut, the mean over heads and raters. Three tenths of what is dropped are clustered by density
    peaks, ten to a cluster, and each cluster stays as its mean. See `aim.kernels.rating` and `aim.kernels.recycling`. It takes O(q·n)
    memory for the score of n tokens by q of the question, and O(r²) for the clusters of r recycled tokens. The repository is
    Gumpest/SparseVLMs (version 1.0 of its code). After each cut the prompt is numbered anew.

    The cuts keep 300, 200 and 110 of 576 tokens at a `keep_ratio` of 0.3334, which is the official setting of 192 tokens on average, and
    keep in proportion at others. The clusters come on top, as in the code.

    This method deviates from the official code:
    - Counts of other budgets are in proportion to those. There 128, 96 and 64 tokens on average have counts of their own.
    - Where the depth is not 32, the layers are scaled.
    - A cluster stands where its centre stood. There the clusters stand behind all visual tokens.
    - A cut that would leave as many tokens as there are is left out. There each drops at least one.
    - Where no token of the question is above the mean, all of them rate.
    - Under M-RoPE tokens keep their positions.
    - The question is the text behind the pictures, chat markers included, as there.
    """

    keep_ratio: float = share_kept(
        0.3334, "Share of the visual tokens that the three cuts keep, on average over the depth.", "Tokens kept on average (keep ratio)"
    )
    stages: tuple[int, ...] | None = knob(
        None,
        "Layers of the cuts (stages)",
        "Three layers before which tokens are dropped, ascending, for example 3,7,16.",
        bounds=FROM_1,
        unset="3, 7, 16 of 32, scaled to the model's depth",
        advice="Layer 0 always sees every visual token; use 1 or more.",
        advanced=False,
    )

    name = "sparsevlm"
    positions = "renumbered"
    needs_question = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages is not None and (len(self.stages) != len(COUNTS) or list(self.stages) != sorted(self.stages)):
            raise Refusal(f"stages is {self.stages}; accepted: three layers before which tokens are dropped, ascending. Use (3, 7, 16).")

    def _cuts(self, num_layers: int) -> tuple[int, ...]:
        """The layers of the three cuts for a model of this depth, ascending, each ≥ 1. In a shallow model they may be equal."""
        if self.stages is not None:
            return self.stages
        return tuple(max(1, layer_at_depth(stage, num_layers, DEPTH)) for stage in STAGES)

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> SparseVLM:
        return self if self.stages is not None else replace(self, stages=self._cuts(num_layers))

    def _share(self, cuts_before: int) -> Fraction:
        """The share of the merged tokens that the last of so many cuts keeps as they are."""
        if not cuts_before or self.keep_ratio == 1:
            return Fraction(1)
        return min(Fraction(1), exact(self.keep_ratio) * Fraction(COUNTS[cuts_before - 1], AVERAGE))

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        left, per_layer, cuts = merged_tokens, [], self._cuts(num_layers)
        for layer in range(num_layers):
            if layer in cuts:
                left = min(left, left_of(left, min(left, self._own(sum(cut <= layer for cut in cuts), merged_tokens))))
            per_layer.append(left)
        return per_layer

    def _own(self, cuts_before: int, merged_tokens: int) -> int:
        """How many tokens stay as they are, beside the clusters."""
        return max(1, tokens_of(self._share(cuts_before), merged_tokens))

    def keep(self, num_layers: int) -> list[Fraction]:
        return [Fraction(count, MANY) for count in self.kept(num_layers, MANY)]

    def raters(self, question: Tensor, visual: Tensor) -> Tensor:
        return question_raters(question, visual)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return rated_attention(query, key, scaling, is_question[-query.shape[1] :])

    def cut(self, cut: Cut) -> Kept:
        if cut.score is None or not cut.target:
            return highest(cut)
        tokens = len(cut.visual)
        kept = min(tokens, self._own(sum(stage <= cut.layer for stage in self.stages or ()), cut.merged))
        if left_of(tokens, kept) != cut.target:  # by another method's schedule: as many as there is room for beside their clusters
            kept = next((count for count in range(cut.target, 0, -1) if left_of(tokens, count) <= cut.target), 0)
        chosen, states, into, _ = recycle(cut.hidden[cut.visual], cut.score[cut.visual], kept, cut.target - kept)
        return Kept(chosen, states, into)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        """See `Method.score_flops`. How long the question is and how much of n is text is not known here.

        It counts a question of 100 tokens, and drops the planned share of all n tokens. To the score of each layer come 2·n·100·h once, for
        the raters, and the clusters.
        """
        asked = PAPER_TEXT_TOKENS
        rating = sum(rating_flops(shape.num_heads, shape.head_dim, min(asked, tokens), tokens) for tokens in lengths)
        shares = [self._share(cuts) for cuts in range(len(COUNTS) + 1)]
        dropped = [tokens_of(1 - after / before, tokens) for before, after, tokens in zip(shares, shares[1:], lengths, strict=False)]
        recycling = sum(recycling_flops(shape.hidden_size, count) for count in dropped)
        return rating + recycling + 2 * asked * shape.hidden_size * sum(lengths[:1])

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """A row of every ratio. Unless the stages were given, the same rows with the stages of ever shallower models follow."""
        yield Dial(self, "keep_ratio", RATIOS)
        for depth in range(num_layers - 1, 3, -1) if self.stages is None else ():
            yield Dial(self.for_depth(depth), "keep_ratio", RATIOS)
