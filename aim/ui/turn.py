"""What every use of the model has in common: it stops when the visitor leaves, it is logged, it goes before
live runs, and it gives its memory back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aim.runtime.answer import Answer
from aim.runtime.memory import give_back_freed
from aim.ui.connection import presence
from aim.ui.model import AppModel
from aim.ui.request import Request
from aim.ui.run_log import logged
from aim.ui.stop import StopSignal


@contextmanager
def turn(vlm: AppModel, what: str, request: Request, stop: StopSignal) -> Iterator[Callable[[Answer | None], None]]:
    """Run the block as one use of the model, in the function of a queued event.

    Yields:
        A function that takes each complete answer, see `run_log.logged`.
    """
    present = presence()
    try:
        with vlm.gate.run(present), logged(vlm, what, request.num_frames, stop.is_set) as note:
            stop.follow(present)
            yield note
    finally:
        stop.end()
        give_back_freed()
