"""Random: after a few layers, keep visual tokens drawn by lot. The control that every importance has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aim.kernels.schedule import drop_once
from aim.methods.base import Method
from aim.methods.checks import check_layer, check_share
from aim.methods.dial import RATIOS, Dial


@dataclass(frozen=True)
class Random(Method):
    """FastV's one cut, at FastV's cost, with lots in place of its scores. No paper's method.

    The lots depend on the seed and the number of tokens alone: the same on every device, in every run and in every layer.

    Args:
        layer: first layer that runs without the dropped tokens, at least 1; with layer ≥ the number of layers nothing is dropped.
        keep_ratio: share of the N visual tokens kept from there on, in (0, 1]; round(keep_ratio · N) of them, at least 1.
        seed: of the lots, 0 to 2^63 - 1.

    Raises:
        ValueError: a knob is out of range.
    """

    layer: int = 2
    keep_ratio: float = 0.5
    seed: int = 0

    name = "random"

    def __post_init__(self) -> None:
        check_layer("layer", self.layer)
        check_share("keep_ratio", self.keep_ratio)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; use a whole number from 0 to 2^63 - 1.")

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.layer, 1.0, self.keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return drop_once(num_layers, self.layer, merged_tokens, max(1, round(self.keep_ratio * merged_tokens)))

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(query.shape[1], generator=generator).to(query.device)

    def settings(self, num_layers: int) -> Iterator[Dial]:
        """Every share after the given layer; then, for what the layers before the cut already cost too much for, after earlier ones."""
        for layer in range(self.layer, 0, -1):
            yield Dial(replace(self, layer=layer), "keep_ratio", RATIOS)
