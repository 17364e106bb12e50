"""VTW, visual tokens withdrawal: deep layers run on the text alone (AAAI 2025, arXiv 2405.05803)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once
from aim.methods.base import Method
from aim.methods.dial import Dial
from aim.methods.usual_knobs import layer_of_cut


@dataclass(frozen=True)
class VTW(Method):
    """Every visual token is withdrawn before layer K, so there is nothing to score. The text keeps its positions.

    The paper searches K on a few samples, by the divergence from the full model's output; that search is not part of this method. K = 6
    costs the 22.38 TFLOP of AIM's table (LLaVA-OneVision-7B, 32 frames). With K ≥ the number of layers nothing is withdrawn. The default
    deviates from the official code: it is half of the depth, 16 of 32, where the repository's search ended at 15 of 32 for LLaVA-1.5-7B.
    """

    layer: int | None = layer_of_cut(
        None, "Layer of the cut", "First layer (K) that runs without visual tokens.", unset="half of the model's depth", advanced=False
    )

    name = "vtw"

    def _cut(self, num_layers: int) -> int:
        return max(1, num_layers // 2) if self.layer is None else self.layer

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> VTW:
        return self if self.layer is not None else replace(self, layer=self._cut(num_layers))

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self._cut(num_layers), 1.0, 0.0)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        yield Dial(self, "layer", range(1, num_layers + 1))
