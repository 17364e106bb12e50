"""Random: after a few layers, keep visual tokens that are drawn at random. Every score of importance has to beat this control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aim.kernels.bounds import FROM_1, SHARE, Bounds
from aim.kernels.counts import tokens_of
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.knob import knob


@dataclass(frozen=True)
class Random(Method):
    """FastV's one cut at FastV's cost, with random scores in place of attention. It is a control, not a method of a paper.

    The scores depend on the seed and the number of tokens alone, so they are the same on every device, in every run and in every layer.
    With layer ≥ the number of layers nothing is dropped. ⌊keep_ratio · N⌋ of N visual tokens are kept, at least 1.
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
    seed: int = knob(
        0,
        "Seed",
        "Number that the random draw starts from; the same seed draws the same tokens.",
        bounds=Bounds(0, 2**63 - 1, whole=True),
        advice="Use a small whole number.",
        planned=False,
    )

    name = "random"

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.layer, 1.0, self.keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return drop_once(num_layers, self.layer, merged_tokens, max(1, tokens_of(self.keep_ratio, merged_tokens)))

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(query.shape[1], generator=generator).to(query.device, non_blocking=True)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """A row of every share with the given layer, and then rows with ever earlier layers, for budgets that no share reaches so late."""
        for layer in range(self.layer, 0, -1):
            yield Dial(replace(self, layer=layer), "keep_ratio", RATIOS)
