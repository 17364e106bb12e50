"""One visitor's Stop button, and whether that visitor is still there."""

from __future__ import annotations

import threading
from collections.abc import Callable


class StopSignal(threading.Event):
    """Set while a run should end, because Stop was pressed (`asked`) or the visitor has left. `busy` says whether a run can be stopped, and
    `complete` whether the last one came to its own end.

    Gradio copies a state's first value for every session. A copy is a fresh signal, because locks cannot be copied.
    """

    asked = busy = complete = False

    def __init__(self) -> None:
        super().__init__()
        self._present: Callable[[], bool] | None = None

    def __deepcopy__(self, memo: dict) -> StopSignal:
        return StopSignal()

    def ask(self) -> None:
        """Stop was pressed."""
        self.asked = True
        self.set()

    def is_set(self) -> bool:
        return super().is_set() or (self._present is not None and not self._present())

    @property
    def at_work(self) -> bool:
        """Whether a run has left the queue and not ended."""
        return self._present is not None

    def begin(self) -> None:
        """Prepare for a run. While another one waits or runs, nothing changes, so a stop that was asked for still holds."""
        if not self.busy:
            self.busy, self.asked, self.complete = True, False, False
            self.clear()

    def follow(self, present: Callable[[], bool]) -> None:
        """End the run also once `present()` is false, see `aim.ui.connection`."""
        self._present = present

    def end(self) -> None:
        """The run has ended, however it did."""
        self.busy, self._present = False, None
