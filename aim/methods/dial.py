"""One knob to turn until a method meets a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aim.methods.base import Method

# Shares in steps of 0.0001: fine enough for every whole number of tokens a frame, short enough to be typed.
RATIOS = tuple(step / 10_000 for step in range(1, 10_001))


@dataclass(frozen=True)
class Dial:
    """A row of settings that differ in one knob: as a sequence, `method` with each of `values`, which go from the cheapest up."""

    method: Method
    knob: str
    values: Sequence[float]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Method:
        return replace(self.method, **{self.knob: self.values[index]})
