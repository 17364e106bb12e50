"""The signal by which whoever started a piece of work ends it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from aim.kernels.bounds import Kind


@runtime_checkable
class Signal(Protocol):
    """Tells that the work should end, as `threading.Event` does."""

    def is_set(self) -> bool: ...


STOP = Kind((Signal, type(None)), "None or a threading.Event", "Set the event to end the work.")
