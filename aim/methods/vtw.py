"""VTW, visual tokens withdrawal: deep layers run on the text alone (AAAI 2025, arXiv 2405.05803)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aim.kernels.schedule import drop_once
from aim.methods.base import Method
from aim.methods.checks import check_layer
from aim.methods.dial import Dial


@dataclass(frozen=True)
class VTW(Method):
    """Every visual token is withdrawn before layer K, so there is nothing to score; the text keeps its positions.

    The paper searches K on a few samples, by the divergence from the full model's output; that search is not part of this. With K = 6 it
    costs the 22.38 TFLOP of AIM's table (LLaVA-OneVision-7B, 32 frames).

    Args:
        layer: K, first layer without visual tokens, at least 1; with K ≥ the number of layers nothing is withdrawn. None: half of the
            model's depth, about where the search ends in the official repository (15 of 32 for LLaVA-1.5-7B).

    Raises:
        ValueError: the layer is out of range.
    """

    layer: int | None = None

    name = "vtw"

    def __post_init__(self) -> None:
        if self.layer is not None:
            check_layer("layer", self.layer)

    def for_depth(self, num_layers: int) -> VTW:
        return self if self.layer is not None else replace(self, layer=max(1, num_layers // 2))

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.for_depth(num_layers).layer, 1.0, 0.0)

    def settings(self, num_layers: int) -> Iterator[Dial]:
        yield Dial(self, "layer", range(1, num_layers + 1))
