"""Stage times that are true on a GPU too, without stopping it between stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up seconds by stage name. On CUDA it records events on the stream and waits for them only when `seconds` is read."""

    def __init__(self, device: torch.device):
        self._device, self._cuda = device, device.type == "cuda"
        self._marks: list[tuple[str, object, object]] = []

    def now(self) -> object:
        """A mark in time: an event on the current CUDA stream, else the clock."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self, device: torch.device) -> None:
        """Before a mark: wait for work on another GPU, which marks on this one would not see."""
        if self._cuda and device != self._device:
            torch.cuda.synchronize(device)

    def add(self, name: str, start: object) -> None:
        """Count the time from `start` (a mark) until now towards a stage."""
        self._marks.append((name, start, self.now()))

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count the time inside the block towards a stage."""
        start = self.now()
        yield
        self.add(name, start)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        if self._cuda and self._marks:
            torch.cuda.synchronize()
        total: dict[str, float] = {}
        for name, start, end in self._marks:
            total[name] = total.get(name, 0.0) + (start.elapsed_time(end) / 1000 if self._cuda else end - start)
        return total
