"""Times of stages. They are true on a GPU too, and the GPU is not stopped between stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Mark:
    """A moment on a device. `at` is an event on the stream of a GPU, and else what the clock showed, in seconds."""

    device: torch.device
    at: Any


class Stopwatch:
    """Adds up seconds by stage name.

    On CUDA it records events on the stream of the stage's device, whichever GPU is current in this thread. It waits for them only when
    `seconds` is called.

    Args:
        device: where stages run that name no other. A model spread over several GPUs has stages that do.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stages: list[tuple[str, Mark, Mark]] = []

    def now(self, device: torch.device | None = None) -> Mark:
        """The moment when `device` has done what this thread has handed it so far. None is the stopwatch's own device."""
        device = self._device if device is None else device
        if device.type != "cuda":
            return Mark(device, time.perf_counter())
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return Mark(device, event)

    def wait(self, device: torch.device) -> None:
        """Wait for the work on another GPU. Call it before a mark on the stopwatch's own device, which would not count that work."""
        if device.type == "cuda" and device != self._device:
            torch.cuda.synchronize(device)

    def add(self, name: str, start: Mark) -> None:
        """Count the time from `start` until now, on the device of `start`, towards the stage `name`."""
        self._stages.append((name, start, self.now(start.device)))

    @contextmanager
    def measure(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Count the time inside the block towards the stage `name`, which runs on `device`. None is the stopwatch's own device."""
        start = self.now(device)
        yield
        self.add(name, start)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage. It waits until the GPUs have come to the ends of the stages."""
        total: dict[str, float] = {}
        for name, start, end in self._stages:
            total[name] = total.get(name, 0.0) + _between(start, end)
        return total


def _between(start: Mark, end: Mark) -> float:
    if start.device.type != "cuda":
        return end.at - start.at
    end.at.synchronize()
    return start.at.elapsed_time(end.at) / 1000
