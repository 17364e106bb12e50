"""How far the vision tower and a prefill are, counted by the layers that have run. The count needs hooks, so it belongs to the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from aim.engine.seams import parts_of, transformer_layers

TOWER, PREFILL = "vision", "prefill"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: `TOWER`, whose parts are frames, or `PREFILL`, whose parts are layers.
        done, total: parts.
    """

    stage: str
    done: int
    total: int


class Count:
    """What has run so far. Another thread may read it meanwhile.

    Args:
        frames: of the clip.
        patches: that the tower takes for all frames together, those that stand for no place included.

    Attributes:
        layers: of the LLM.
        prefills: whether the tower has ended. Whoever runs it says so.
    """

    def __init__(self, frames: int, patches: int):
        self._frames, self._patches = frames, patches
        self._encoded = 0.0  # patches that have left a layer, summed over the layers, as a share of all
        self._layer = self.layers = 0
        self._told: Progress | None = None
        self.prefills = False

    def now(self) -> Progress:
        """How far the run is. A part of a frame counts as none."""
        if self.prefills:
            return Progress(PREFILL, self._layer, self.layers)
        return Progress(TOWER, min(self._frames, int(self._frames * self._encoded + 1e-6)), self._frames)

    def news(self) -> Progress | None:
        """The same, and None where the last call gave it already."""
        told, self._told = self._told, self.now()
        return None if told == self._told else self._told

    def add_tower(self, layers: int, hidden: Tensor) -> None:
        self._encoded += hidden.shape[:-1].numel() / (self._patches * layers)

    def add_layer(self, layer: int) -> None:
        self._layer = layer + 1


@contextmanager
def counting(model: PreTrainedModel, count: Count) -> Iterator[None]:
    """A block in which every transformer layer of `model` is counted once it has run, in tower and LLM."""
    text = list(parts_of(model).layers)
    count.layers = len(text)
    tower = [layer for layer in transformer_layers(model) if all(layer is not other for other in text)]

    def of_tower(_module: nn.Module, _args: tuple, output: Any) -> None:
        count.add_tower(len(tower), output[0] if isinstance(output, tuple) else output)

    def of_text(place: int):
        return lambda _module, _args, _output: count.add_layer(place)

    hooks = [layer.register_forward_hook(of_tower) for layer in tower]
    hooks += [layer.register_forward_hook(of_text(place)) for place, layer in enumerate(text)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
