"""What methods share that drop visual tokens once, before one layer inside the LLM: their two knobs, their counts, their budgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from aim.kernels.counts import tokens_of
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, drop_once
from aim.methods.base import Method
from aim.methods.dial import RATIOS, Dial
from aim.methods.usual_knobs import layer_of_cut, share_kept


@dataclass(frozen=True)
class OneCut(Method):
    """One cut before layer `layer`, which keeps ⌊keep_ratio · N⌋ of N visual tokens, at least 1. A method of this kind says which.

    With layer ≥ the number of layers nothing is dropped.
    """

    layer: int = layer_of_cut(2, "Layer of the cut", "First layer that runs without the dropped tokens.", advanced=False)
    keep_ratio: float = share_kept(0.5, "Share of the visual tokens that is kept.", "Tokens kept after the cut (keep ratio)")

    def keep(self, num_layers: int) -> list[float]:
        return drop_once(num_layers, self.layer, 1.0, self.keep_ratio)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return drop_once(num_layers, self.layer, merged_tokens, self.left(merged_tokens))

    def left(self, merged_tokens: int) -> int:
        """How many of the merged tokens the cut keeps."""
        return max(1, tokens_of(self.keep_ratio, merged_tokens))

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Dial]:
        """A row of every share with the given layer, and then rows with ever earlier layers, for budgets that no share reaches so late."""
        for layer in range(self.layer, 0, -1):
            yield Dial(replace(self, layer=layer), "keep_ratio", RATIOS)
