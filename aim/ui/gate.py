"""Who may use the model at once: Run before everything that runs live, and one live run at most for each visitor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 32  # visitors who drag at once. One more waits until another has stopped.


class Held(Exception):
    """A Run is at the model, or too many visitors drag at once."""


class Live(threading.Event):
    """One live run. It is set once it should end. `gave_way` says that it was for a Run, and not for a newer setting."""

    gave_way = False


class Gate:
    """Counts the Runs of a model, and knows its live runs. It may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._live: dict[str, Live] = {}

    @contextmanager
    def run(self) -> Iterator[None]:
        """A block in which a Run uses the model. Live runs end before the model's next layer."""
        with self._lock:
            self._runs += 1
            for live in self._live.values():
                live.gave_way = True
                live.set()
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1

    @contextmanager
    def live(self, visitor: str) -> Iterator[Live]:
        """A block in which a visitor's newest setting runs. It ends that visitor's older one.

        Raises:
            Held: it cannot begin now.
        """
        live = Live()
        with self._lock:
            if self._runs or (visitor not in self._live and len(self._live) >= MOST):
                raise Held
            if (older := self._live.pop(visitor, None)) is not None:
                older.set()
            self._live[visitor] = live
        try:
            yield live
        finally:
            with self._lock:
                if self._live.get(visitor) is live:
                    del self._live[visitor]
