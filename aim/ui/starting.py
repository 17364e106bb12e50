"""How events go through Gradio's queue, and what every pair of Start and Stop buttons has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.events import Dependency

from aim.ui.errors import told_in_status
from aim.ui.handlers import request_stop
from aim.ui.status import status
from aim.ui.stop import StopSignal

SESSION_SECONDS = 3600
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# These go through the queue, because Gradio shows error messages of queued events only.
AT_ONCE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
# Everything that runs the model waits in this one queue.
IN_LINE: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
# With "minimal" Gradio shows the visitor's place in the queue.
ONE_AT_A_TIME: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private", **IN_LINE}


def connect_start(
    start: gr.Button, stop: gr.Button, place: gr.HTML, work: Callable, inputs: list, outputs: list
) -> tuple[gr.State, Dependency]:
    """Connect a pair of buttons to work on the model.

    Args:
        place: the status line.
        work: a generator of lists of values for `outputs`, of which the first is the status line. It is called with the visitor's signal to
            stop, then with the values of `inputs`. It ends the signal itself (see `turn`). If it raises, the status line says why.
        inputs, outputs: Gradio components and states.

    Returns:
        The state that holds the signal, and the event to continue from once the work has ended.
    """
    signal = gr.State(StopSignal())

    def begin(stop: StopSignal):
        stop.begin()
        return status("Waiting for the model…", busy=True)

    begun = start.click(begin, signal, place, **QUIET)
    guarded = told_in_status(len(outputs))(work)
    ended = begun.then(guarded, [signal, *inputs], outputs, trigger_mode="once", show_progress_on=[place], **ONE_AT_A_TIME)
    stop.click(halt, signal, place, **QUIET)
    return signal, ended


def halt(stop: StopSignal):
    """Ask the run to end. Returns the status line.

    A run that has begun tells its own end, since two messages could arrive in the wrong order.
    """
    at_work = stop.at_work
    told = request_stop(stop)
    return gr.skip() if at_work else told
