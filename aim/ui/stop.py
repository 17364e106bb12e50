"""One visitor's Stop button."""

from __future__ import annotations

import threading


class StopSignal(threading.Event):
    """Set while a run should end. `asked` tells a visitor's stop from a run that ended by itself; `busy` says there is something to stop.

    Gradio copies a state's first value for every session; a copy is a fresh signal, because locks cannot be copied.
    """

    asked = busy = False

    def __deepcopy__(self, memo: dict) -> StopSignal:
        return StopSignal()

    def ask(self) -> None:
        self.asked = True
        self.set()

    def begin(self) -> None:
        """A run was asked for. While one is waiting or running, its own stop stays as it is."""
        if not self.busy:
            self.busy, self.asked = True, False
            self.clear()

    def rearm(self) -> None:
        """Between two models of one run: the first one set the signal when it ended. A visitor's stop stays."""
        self.clear()
        if self.asked:
            self.set()

    def end(self) -> None:
        self.busy = False
