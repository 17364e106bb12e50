"""PyramidDrop: at a few depths, drop the visual tokens the last instruction token attends to least (CVPR 2025, arXiv 2410.17247)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from torch import Tensor

from aim.kernels.bounds import FROM_1, SHARE
from aim.kernels.cost import ModelShape, last_token_flops, look_ahead_flops
from aim.kernels.counts import exact
from aim.kernels.importance import last_token_attention
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob

LEAST_LEFT = RATIOS.index(0.25)


@dataclass(frozen=True)
class PyramidDrop(Method):
    """Cuts at a few depths. Each leaves the share `ratio` of what the one before left, and the layer after it decides which tokens stay.

    A token's score is the attention that the prompt's last token would pay it in that layer, the mean over the heads: the layer's own norm
    and projections are applied to the current hidden states. After a cut the prompt is numbered 0, 1, 2… again, as in the official code.
    Under M-RoPE, where that would mix up time, row and column, tokens keep their positions. After k cuts ⌊ratio^k · N⌋ of N visual
    tokens are left.

    Stages, scores, counts and numbering are those of the official code. This method deviates from it where the depth is not 32: its stages
    are scaled.

    AIM's table has 24.22 TFLOP for LLaVA-OneVision-7B on 32 frames, which no plausible setting reproduces. The defaults cost 45.22, and
    with their stages nothing costs less than 25.89.
    """

    ratio: float = knob(
        0.5,
        "Tokens kept at each cut (ratio)",
        "Share of the visual tokens that each cut leaves.",
        bounds=SHARE,
        step=0.005,
        advice="Use 1 to keep all.",
        advanced=False,
    )
    stages: tuple[int, ...] | None = knob(
        None,
        "Layers of the cuts (stages)",
        "Layers before which tokens are dropped, ascending, for example 7,14,21.",
        bounds=FROM_1,
        unset="the paper's 8, 16, 24 of 32, scaled to the model's depth",
        advice="Layer 0 always sees every visual token; use 1 or more.",
        advanced=False,
    )

    name = "pdrop"
    positions = "renumbered"
    looks_ahead = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages is not None and (not self.stages or list(self.stages) != sorted(set(self.stages))):
            raise Refusal(
                f"stages is {self.stages}; accepted: the layers before which tokens are dropped, ascending. Use (7, 14, 21), for example."
            )

    def _cuts(self, num_layers: int) -> tuple[int, ...]:
        """The layers of the cuts for a model of this depth, ascending, each ≥ 1."""
        if self.stages is not None:
            return self.stages
        return tuple(dict.fromkeys(max(1, (quarter * num_layers + 2) // 4) for quarter in (1, 2, 3)))

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> PyramidDrop:
        return self if self.stages is not None else replace(self, stages=self._cuts(num_layers))

    def keep(self, num_layers: int) -> list[Fraction]:
        cuts = self._cuts(num_layers)
        return [exact(self.ratio) ** sum(cut <= layer for cut in cuts) for layer in range(num_layers)]

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        return last_token_attention(query, key, scaling)

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return look_ahead_flops(shape, lengths) + last_token_flops(shape, lengths)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """Ratios of 0.25 and more with the own stages and, unless these were given, with those of ever shallower models. Lower ratios come
        last: a cut that leaves next to nothing is another method, VTW.
        """
        shallower = range(num_layers - 1, 3, -1) if self.stages is None else ()
        for method in (self, *map(self.for_depth, shallower)):
            yield Dial(method, "ratio", RATIOS[LEAST_LEFT:])
        yield Dial(self, "ratio", RATIOS)
