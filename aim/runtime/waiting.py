"""Work in a thread of its own, so that whoever waits for it can say meanwhile how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

LOOK_SECONDS = 0.25  # between two looks at how far the work is
Result = TypeVar("Result")


class Work(threading.Thread, Generic[Result]):
    """A function at work. It begins at once."""

    def __init__(self, function: Callable[[], Result]):
        super().__init__(daemon=True)
        self._function = function
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:  # `result` raises it
            self._error = error

    def looks(self) -> Iterator[None]:
        """Comes back every `LOOK_SECONDS` until the function has ended."""
        while True:
            self.join(LOOK_SECONDS)
            if not self.is_alive():
                return
            yield

    def result(self) -> Result:
        """What the function returned, once it has ended. It raises what the function raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


@contextmanager
def working(function: Callable[[], Result], abandon: Callable[[], None]) -> Iterator[Work[Result]]:
    """A block beside which the function is at work. Leaving it by an exception calls `abandon`, which should end the function soon."""
    work = Work(function)
    try:
        yield work
    except BaseException:
        abandon()
        raise
    finally:
        work.join()
