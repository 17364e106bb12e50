"""Stage times that are true on a GPU too, without stopping it between stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Mark:
    """A moment on a device: an event on its stream where it is a GPU, else what the clock showed, in seconds."""

    device: torch.device
    at: Any


class Stopwatch:
    """Adds up seconds by stage name. On CUDA it records events on the device's own stream, whichever GPU is current in this thread, and
    waits for them only when `seconds` is read.

    Args:
        device: where stages run unless they name another, as those of a model spread over several GPUs do.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stages: list[tuple[str, Mark, Mark]] = []

    def now(self, device: torch.device | None = None) -> Mark:
        """The moment when `device` (None: the stopwatch's own) has done what it was handed so far in this thread."""
        device = self._device if device is None else device
        if device.type != "cuda":
            return Mark(device, time.perf_counter())
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return Mark(device, event)

    def wait(self, device: torch.device) -> None:
        """Before a mark: wait for work on another GPU, which marks on the stopwatch's own device would not see."""
        if device.type == "cuda" and device != self._device:
            torch.cuda.synchronize(device)

    def add(self, name: str, start: Mark) -> None:
        """Count the time from `start` until now towards a stage, on the device of `start`."""
        self._stages.append((name, start, self.now(start.device)))

    @contextmanager
    def measure(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Count the time inside the block towards a stage that runs on `device` (None: the stopwatch's own)."""
        start = self.now(device)
        yield
        self.add(name, start)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage. Waits for the GPUs to come to the ends of the stages."""
        total: dict[str, float] = {}
        for name, start, end in self._stages:
            total[name] = total.get(name, 0.0) + _between(start, end)
        return total


def _between(start: Mark, end: Mark) -> float:
    if start.device.type != "cuda":
        return end.at - start.at
    end.at.synchronize()
    return start.at.elapsed_time(end.at) / 1000
