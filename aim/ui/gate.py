"""Who may use the model at once: Run before everything that runs live, and one live run at most for each visitor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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
        # The same thread may enter it twice, because the garbage collector may end a block at any place.
        self._lock = threading.RLock()
        self._runs: dict[object, Callable[[], bool]] = {}
        self._live: dict[str, Live] = {}

    @contextmanager
    def run(self, present: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """A block in which a Run uses the model. Live runs end before the model's next layer.

        Args:
            present: whether whoever wants the Run is still there. Without them it holds nobody up: Gradio lets go of the function of a
                closed page, but the block in it ends only when the garbage collector finds it.
        """
        run = object()
        with self._lock:
            self._runs[run] = present
            for live in list(self._live.values()):
                live.gave_way = True
                live.set()
        try:
            yield
        finally:
            with self._lock:
                self._runs.pop(run, None)

    @contextmanager
    def live(self, visitor: str, most: int = MOST) -> Iterator[Live]:
        """A block in which a visitor's newest setting runs, beside those of `most` - 1 others. It ends that visitor's older one.

        Raises:
            Held: it cannot begin now.
        """
        live = Live()
        with self._lock:
            for run, present in list(self._runs.items()):
                if not present():
                    self._runs.pop(run, None)
            if self._runs or (visitor not in self._live and len(self._live) >= most):
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
