"""Random: after a few layers, keep visual tokens that are drawn at random. Every score of importance has to beat this control."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aim.kernels.bounds import Bounds
from aim.methods.knob import knob
from aim.methods.one_cut import OneCut


@dataclass(frozen=True)
class Random(OneCut):
    """FastV's one cut at FastV's cost, with random scores in place of attention. It is a control, not a method of a paper.

    The scores depend on the seed and the number of tokens alone, so they are the same on every device, in every run and in every layer.
    With layer ≥ the number of layers nothing is dropped. ⌊keep_ratio · N⌋ of N visual tokens are kept, at least 1.
    """

    seed: int = knob(
        0,
        "Seed",
        "Number that the random draw starts from; the same seed draws the same tokens.",
        bounds=Bounds(0, 2**63 - 1, whole=True),
        advice="Use a small whole number.",
        planned=False,
    )

    name = "random"

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(query.shape[1], generator=generator).to(query.device, non_blocking=True)
