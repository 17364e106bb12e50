"""One run of a model at a time. The lock knows who holds the model, and refuses a caller who would wait for ever.

An iterator of answers holds the model from its first answer to its last. Between two answers it rests for as long as its owner likes. A
caller who asks in the middle of iterating would wait for their own iterator. Such a caller is recognised by two things together: the
thread that advanced the iterator last, and its context (`contextvars`). The thread alone is not enough, because a server may advance an
iterator in another thread each time, and use the same thread for somebody else. Where neither shows it, the wait still ends: nobody waits
longer than `PATIENCE` for an iterator that rests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal

PATIENCE = 60.0  # seconds; nobody waits longer for an iterator that rests
_LOOK_SECONDS = 0.1  # how often a waiting caller looks whether the wait has ended


@dataclass(eq=False)
class Holder:
    """Who holds a model.

    Attributes:
        what: what the model does for them, as a noun.
        thread: the thread that began or advanced the work last.
        since: `time.monotonic()` when the work began.
        resting_since: `time.monotonic()` when it handed out its last answer; None while it works.
        over: whether the work has ended.
    """

    what: str
    thread: threading.Thread = field(default_factory=threading.current_thread)
    since: float = field(default_factory=time.monotonic)
    resting_since: float | None = None
    over: bool = False

    def __str__(self) -> str:
        now = time.monotonic()
        rests = "" if self.resting_since is None else f", not advanced for {now - self.resting_since:.0f} s"
        return f"{self.what} (begun {now - self.since:.0f} s ago, last in the thread {self.thread.name}{rests})"

    @contextmanager
    def resting(self) -> Iterator[None]:
        """A block that hands out an answer. Whoever comes back from it is the one who advances the work."""
        self.resting_since = time.monotonic()
        try:
            yield
        finally:
            self.resting_since, self.thread = None, threading.current_thread()
            self.belongs_here()

    def belongs_here(self) -> None:
        """Note that the present context works with it."""
        _HELD.set((*(other for other in _HELD.get() if not other.over and other is not self), self))


# The work that this context has begun or advanced, with any model.
_HELD: ContextVar[tuple[Holder, ...]] = ContextVar("_HELD", default=())


class ModelLock:
    """A lock that lets one caller at a time use a model.

    Attributes:
        holder: who uses the model; None while it is free.
        patience: seconds, see `PATIENCE`.
    """

    def __init__(self, patience: float = PATIENCE):
        self.holder: Holder | None = None
        self.patience = patience
        # Its lock is one that the same thread may enter twice, because the garbage collector may end an iterator at any place.
        self._changed = threading.Condition()

    @contextmanager
    def held(self, what: str, ended: Callable[[], bool] = bool) -> Iterator[Holder]:
        """A block that begins when the model is free, and keeps others from the model.

        Args:
            what: what the model is used for, as a noun. Others read it.
            ended: whether the caller no longer wants the model.

        Raises:
            Refusal: the caller holds the model already, or another caller's iterator has held it at rest for longer than `patience`.
            Stopped: `ended()` was true before the model was free.
        """
        holder = Holder(what)
        self._take(holder, ended)
        try:
            yield holder
        finally:
            self._release(holder)

    def _take(self, holder: Holder, ended: Callable[[], bool]) -> None:
        with self._changed:
            while (other := self.holder) is not None:
                if other in _HELD.get() and other.thread is threading.current_thread():
                    raise Refusal(
                        f"The model still works on {other}, for the same caller. Take that to its end or close it, and ask again then."
                    )
                since = None if other.resting_since is None else max(other.resting_since, holder.since)
                if since is not None and time.monotonic() - since > self.patience:
                    raise Refusal(f"The model is held by {other}. Take that to its end or close it, and ask again then.")
                if ended():
                    raise Stopped
                self._changed.wait(_LOOK_SECONDS)
            self.holder = holder
        holder.belongs_here()

    def _release(self, holder: Holder) -> None:
        with self._changed:
            holder.over, self.holder = True, None
            self._changed.notify_all()
