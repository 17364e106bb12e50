"""How often what a model in training says is right, as a running mean for each name, the same in all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist

MEMORY = 0.97  # share of the old mean that a step keeps


class Tally:
    """Counts a step's right guesses by name. `settle` then moves the running mean of each name.

    Args:
        names: everything that is counted. All processes give the same ones, in the same order.
        means: the running means so far, as a stopped run has stored them.
    """

    def __init__(self, names: tuple[str, ...], means: dict[str, float] | None = None):
        self.names, self.means = names, dict(means or {})
        self._counts = torch.zeros(2, len(names))

    def note(self, name: str, right: torch.Tensor) -> None:
        """Count guesses. `right` is bool, of any shape, and may be empty."""
        number = self.names.index(name)
        self._counts[0, number] += right.sum().item()
        self._counts[1, number] += right.numel()

    def settle(self) -> None:
        """End a step: bring the counts of all processes together and move the means."""
        if dist.is_initialized():
            dist.all_reduce(self._counts)
        for name, right, of in zip(self.names, *self._counts.tolist(), strict=True):
            if of:
                self.means[name] = MEMORY * self.means.get(name, right / of) + (1 - MEMORY) * right / of
        self._counts.zero_()
