"""FastV: after a few layers, keep the visual tokens that the prompt's last token attends to most (ECCV 2024, arXiv 2403.06764)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from aim.kernels.bounds import FROM_1, SHARE
from aim.kernels.cost import ModelShape, last_token_flops
from aim.kernels.counts import tokens_of
from aim.kernels.importance import last_token_attention
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class FastV(Method):
    """One cut before layer K. A token's score is the attention that the last prompt token pays it in layer K-1, the mean over the heads.

    The cut is made once, at the prefill, and what is decoded sees the same tokens. This method deviates from the official code: the score
    is one query against all keys, not a row of a whole attention map; tokens are removed, where its evaluation masks them; under M-RoPE
    kept tokens keep their three positions. `FastV(layer=1, keep_ratio=0.199)`, 1,248 of 6,272 tokens, costs 21.235 TFLOP; AIM's table has
    21.24. Like every figure there, this one leaves out the scoring, which `Plan.importance_tflops` counts.

    With layer ≥ the number of layers nothing is dropped. ⌊keep_ratio · N⌋ of N visual tokens are kept, as in the official code, and at
    least 1. The defaults are the paper's, at any depth.
    """

    layer: int = knob(
        2,
        "Layer of the cut",
        "First layer that runs without the dropped tokens.",
        bounds=FROM_1,
        step=1,
        slider_high=lambda layers: layers,
        advice="Layer 0 always sees every visual token; use 1 or more.",
        advanced=False,
    )
    keep_ratio: float = knob(
        0.5,
        "Tokens kept after the cut (keep ratio)",
        "Share of the visual tokens that is kept.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to keep all.",
        advanced=False,
    )

    name = "fastv"

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.layer, 1.0, self.keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return drop_once(num_layers, self.layer, merged_tokens, max(1, tokens_of(self.keep_ratio, merged_tokens)))

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return last_token_flops(shape, lengths)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """A row of every share with the given layer, and then rows with ever earlier layers, for budgets that no share reaches so late."""
        for layer in range(self.layer, 0, -1):
            yield Dial(replace(self, layer=layer), "keep_ratio", RATIOS)
