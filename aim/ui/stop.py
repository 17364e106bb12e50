"""One visitor's Stop button, and whether that visitor is still there."""

from __future__ import annotations

import threading
from collections.abc import Callable


class StopSignal(threading.Event):
    """Set while a run should end: Stop was pressed (`asked`), or the visitor has left. `busy` says there is something to stop.

    Gradio copies a state's first value for every session; a copy is a fresh signal, because locks cannot be copied.
    """

    asked = busy = False

    def __init__(self) -> None:
        super().__init__()
        self._present: Callable[[], bool] | None = None

    def __deepcopy__(self, memo: dict) -> StopSignal:
        return StopSignal()

    def ask(self) -> None:
        self.asked = True
        self.set()

    def is_set(self) -> bool:
        return super().is_set() or (self._present is not None and not self._present())

    @property
    def at_work(self) -> bool:
        """A run has left the queue and not ended."""
        return self._present is not None

    def begin(self) -> None:
        """A run was asked for. While one is waiting or running, its own stop stays as it is."""
        if not self.busy:
            self.busy, self.asked = True, False
            self.clear()

    def follow(self, present: Callable[[], bool]) -> None:
        """From here on the run also ends once `present()` is false; see `aim.ui.connection`."""
        self._present = present

    def end(self) -> None:
        self.busy, self._present = False, None
