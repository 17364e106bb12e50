"""FastV: after a few layers, keep the visual tokens that the prompt's last token attends to most (ECCV 2024, arXiv 2403.06764)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from aim.kernels.cost import ModelShape, last_token_flops
from aim.kernels.importance import last_token_attention
from aim.methods.one_cut import OneCut


@dataclass(frozen=True)
class FastV(OneCut):
    """One cut before layer K. A token's score is the attention that the last prompt token pays it in layer K-1, the mean over the heads.

    The cut is made once, at the prefill, and what is decoded sees the same tokens. This method deviates from the official code: the score
    is one query against all keys, not a row of a whole attention map; tokens are removed, where its evaluation masks them; under M-RoPE
    kept tokens keep their three positions. `FastV(layer=1, keep_ratio=0.199)`, 1,248 of 6,272 tokens, costs 21.235 TFLOP; AIM's table has
    21.24. Like every figure there, this one leaves out the scoring, which `Plan.importance_tflops` counts.

    With layer ≥ the number of layers nothing is dropped. ⌊keep_ratio · N⌋ of N visual tokens are kept, as in the official code, and at
    least 1. The defaults are the paper's, at any depth.
    """

    name = "fastv"

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return last_token_flops(shape, lengths)
