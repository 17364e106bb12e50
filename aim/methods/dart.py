"""DART: after a few layers, keep visual tokens that repeat little of what a few pivot tokens say (EMNLP 2025, arXiv 2502.11494)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.cost import ModelShape
from aim.kernels.counts import exact
from aim.kernels.pivots import key_length, least_like_pivots, longest, pivot_flops
from aim.methods.cut import Cut, Kept
from aim.methods.one_cut import OneCut
from aim.methods.usual_knobs import share_kept

# Pivots among the visual tokens, and as many among the question's.
PIVOTS = 4


@dataclass(frozen=True)
class DART(OneCut):
    """One cut before layer K. Eight pivots, four visual tokens and four of the question, each choose the tokens that are least like them.

    Pivots are the tokens of the longest keys in layer K-1, by the L1 norm over all key heads after RoPE. They choose one after the other,
    each ⌊N · keep_ratio / 8⌋ of the N visual tokens that nobody has chosen yet, of least cosine with it. What is compared are the states
    that leave layer K-1, through the model's final norm. 4 + 8 · ⌊N · keep_ratio / 8⌋ tokens are kept, the visual pivots among them, with
    the positions that they had. It takes O(n·C) memory for n tokens. The repository is ZichenWen1/DART, of which this is the part for
    Qwen2.5-VL; that for LLaVA counts up to 128 of 576 tokens, which is the default here.

    This method deviates from the official code in the order of the pivots: the code goes through a Python set, whose order depends on the
    size of its hash table; here the visual pivots choose first, then those of the question, each by the length of their keys. Where the
    question has fewer than four tokens, they choose again from the first. A layer of linear attention
    has no keys, so the last layer before the cut that has some is asked.

    What is recorded as a token's importance is the length of its key, which decides over pivots alone.
    """

    keep_ratio: float = share_kept(0.2223, "Share of the visual tokens that the pivots choose.", "Tokens kept after the cut (keep ratio)")

    name = "dart"
    needs_question = True

    def _each(self, merged_tokens: int) -> int:
        """How many tokens each pivot chooses."""
        return min(exact(self.keep_ratio) * merged_tokens // (2 * PIVOTS), max(0, merged_tokens - PIVOTS) // (2 * PIVOTS))

    def left(self, merged_tokens: int) -> int:
        return merged_tokens if self.keep_ratio == 1 else min(merged_tokens, PIVOTS + 2 * PIVOTS * self._each(merged_tokens))

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return key_length(key)

    def cut(self, cut: Cut) -> Kept:
        if cut.score is None or not cut.target:
            return super().cut(cut)
        own = min(PIVOTS, cut.target)
        pivots = torch.cat([longest(cut.score, cut.visual, own), longest(cut.score, cut.question, PIVOTS)])
        more, left = divmod(cut.target - own, len(pivots))  # another method's schedule may leave some, which the first pivots choose
        each = [more + (number < left) for number in range(len(pivots))]
        kept = least_like_pivots(cut.norm(cut.hidden), cut.visual, pivots, each)
        # The number of tokens is known, so that nothing waits for the device: those that are kept come first in a stable sort.
        return Kept(kept.int().argsort(descending=True, stable=True)[: cut.target])

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        keys = shape.num_key_value_heads * shape.head_dim
        return sum(pivot_flops(shape.hidden_size, keys, tokens, 2 * PIVOTS) for tokens in lengths)
