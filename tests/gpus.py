"""Two GPUs where there is none: work is handed to them by number, and the host goes on at once.

Enforced are the rules of CUDA that a clock can break: each thread has a current GPU, which is the first one until the thread picks another;
an event is recorded on one GPU's stream; two events can be compared only on one GPU, and only after the host has waited for both.
"""

from __future__ import annotations

import threading

import torch

GPUS = [torch.device("cuda", number) for number in range(2)]


class PretendedGpus:
    """Two GPUs that stand in for `torch.cuda`. Times are in seconds.

    Attributes:
        host: what the clock of the host shows. It moves on only where the host waits.
    """

    def __init__(self, monkeypatch):
        self.host, self._busy_until, self._chosen = 0.0, [0.0, 0.0], threading.local()
        gpus = self

        class Event:
            def __init__(self, enable_timing=False):
                assert enable_timing

            def record(self, stream=None):
                self.gpu = gpus.current() if stream is None else stream
                self.at = gpus.free_at(self.gpu)

            def synchronize(self):
                gpus.host = max(gpus.host, self.at)

            def elapsed_time(self, end):
                if end.gpu != self.gpu:
                    raise RuntimeError("The events lie on two GPUs.")
                if gpus.host < end.at:
                    raise RuntimeError("The GPU has not come to the event.")
                return 1000 * (end.at - self.at)

        class Chosen:
            def __init__(self, device):
                self.number = gpus.number(device)

            def __enter__(self):
                self.before, gpus._chosen.number = gpus.current(), self.number

            def __exit__(self, *_error):
                gpus._chosen.number = self.before

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "device", Chosen)
        monkeypatch.setattr(torch.cuda, "current_device", self.current)
        monkeypatch.setattr(torch.cuda, "current_stream", self.number)
        monkeypatch.setattr(torch.cuda, "synchronize", self._synchronize)

    def current(self) -> int:
        """The current GPU of the thread that asks."""
        return getattr(self._chosen, "number", 0)

    def number(self, device: torch.device | None = None) -> int:
        """A GPU's number; the current one's where none is named. A stream is told by it too, for each GPU has one."""
        return self.current() if device is None or device.index is None else device.index

    def free_at(self, number: int) -> float:
        """When a GPU will have done what it was handed."""
        return max(self.host, self._busy_until[number])

    def work(self, device: torch.device, seconds: float) -> None:
        """Hand a GPU work that takes so long."""
        self._busy_until[device.index] = self.free_at(device.index) + seconds

    def _synchronize(self, device: torch.device | None = None) -> None:
        self.host = self.free_at(self.number(device))
