"""FastV: after a few layers, keep the visual tokens that the prompt's last token attends to most (ECCV 2024, arXiv 2403.06764)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from aim.kernels.cost import ModelShape, last_token_flops
from aim.kernels.importance import last_token_attention
from aim.kernels.schedule import drop_once
from aim.methods.base import Method
from aim.methods.checks import check_layer, check_share
from aim.methods.dial import RATIOS, Dial


@dataclass(frozen=True)
class FastV(Method):
    """One cut before layer K; a token's score is what the last prompt token pays it in layer K-1, mean over the heads.

    The cut is made once, at the prefill; what is decoded sees the same tokens. Deviations from the official code: the score is one query
    against all keys, not a row of a whole attention map; tokens are removed, where its evaluation masks them; under M-RoPE kept tokens keep
    their three positions. `FastV(layer=1, keep_ratio=0.199)`, 1,248 of 6,272 tokens, costs 21.235 TFLOP; AIM's table has 21.24. Like every
    figure there this leaves the scoring out, which `Plan.importance_tflops` has.

    Args:
        layer: K, first layer that runs without the dropped tokens, at least 1; with K ≥ the number of layers nothing is dropped. The
            paper's is 2, at any depth.
        keep_ratio: share of the N visual tokens kept from there on, in (0, 1]; round(keep_ratio · N) of them, at least 1. The paper's is
            0.5.

    Raises:
        ValueError: a knob is out of range.
    """

    layer: int = 2
    keep_ratio: float = 0.5

    name = "fastv"

    def __post_init__(self) -> None:
        check_layer("layer", self.layer)
        check_share("keep_ratio", self.keep_ratio)

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.layer, 1.0, self.keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return drop_once(num_layers, self.layer, merged_tokens, max(1, round(self.keep_ratio * merged_tokens)))

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return last_token_flops(shape, lengths)

    def settings(self, num_layers: int) -> Iterator[Dial]:
        """Every share after the given layer; then, for what the layers before the cut already cost too much for, after earlier ones."""
        for layer in range(self.layer, 0, -1):
            yield Dial(replace(self, layer=layer), "keep_ratio", RATIOS)
