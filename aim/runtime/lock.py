"""One run of a model at a time: who holds it, and what is refused because it could only wait for ever.

An iterator of answers holds the model from its first answer to its last, and rests in between for as long as its owner likes. Whoever
asks in the middle of iterating would wait for himself. He is recognised by the thread that advanced the iterator last together with its
context (`contextvars`): the thread alone is not enough, since a server may advance an iterator in another thread each time, and use the
same thread for somebody else. What these do not show ends all the same: nobody waits longer than `PATIENCE` for an iterator that rests.
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

PATIENCE = 60.0  # seconds for which somebody waits for an iterator that rests
_LOOK_SECONDS = 0.1  # how often a waiting caller looks whether he may, must or need no longer wait


@dataclass(eq=False)
class Holder:
    """Who holds a model.

    Attributes:
        what: what the model does for them, as a noun.
        thread: the one that began or advanced it last.
        since: `time.monotonic()` when it began.
        resting_since: the same when it handed out its last answer; None while it works.
        over: it has ended.
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
        """The block hands out an answer; whoever comes back from it advances the work from now on."""
        self.resting_since = time.monotonic()
        try:
            yield
        finally:
            self.resting_since, self.thread = None, threading.current_thread()
            self.belongs_here()

    def belongs_here(self) -> None:
        """The present context is the one that works with it."""
        _HELD.set((*(other for other in _HELD.get() if not other.over and other is not self), self))


# What this context has begun or advanced, of any model.
_HELD: ContextVar[tuple[Holder, ...]] = ContextVar("_HELD", default=())


class ModelLock:
    """Lets one caller at a time use a model.

    Attributes:
        holder: who uses it; None while it is free.
        patience: seconds, see `PATIENCE`.
    """

    def __init__(self, patience: float = PATIENCE):
        self.holder: Holder | None = None
        self.patience = patience
        # Of threading's default kind, which its own thread may enter twice: the garbage collector may end an iterator at any place.
        self._changed = threading.Condition()

    @contextmanager
    def held(self, what: str, ended: Callable[[], bool] = bool) -> Iterator[Holder]:
        """Wait until the model is free, and keep others from it as long as the block lasts.

        Args:
            what: what it is for, as a noun; others read it.
            ended: whether the caller no longer wants it.

        Raises:
            Refusal: the caller holds it already, or it rests in somebody else's hands.
            Stopped: `ended()` was true before it was free.
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
                        f"The model still works on {other}, for the same caller. Take that to its end or close it, then ask again."
                    )
                since = None if other.resting_since is None else max(other.resting_since, holder.since)
                if since is not None and time.monotonic() - since > self.patience:
                    raise Refusal(f"The model is held by {other}. Take that to its end or close it, then ask again.")
                if ended():
                    raise Stopped
                self._changed.wait(_LOOK_SECONDS)
            self.holder = holder
        holder.belongs_here()

    def _release(self, holder: Holder) -> None:
        with self._changed:
            holder.over, self.holder = True, None
            self._changed.notify_all()
