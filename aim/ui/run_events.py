"""Run and Stop: the answer while it grows, and what is shown when it has ended."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency

from aim.methods import AIM
from aim.ui import handlers
from aim.ui.asking import Asking
from aim.ui.errors import told_in_status
from aim.ui.handlers import Update
from aim.ui.live import SENDING, kept_by
from aim.ui.request import Request
from aim.ui.results import Results
from aim.ui.starting import ONE_AT_A_TIME, QUIET, halt
from aim.ui.status import status
from aim.ui.stop import StopSignal
from aim.ui.trust_check import connect_trust_check
from aim.ui.turn import turn


def connect_run(
    vlm, asking: Asking, inputs: list, results: Results, last_run: gr.State, client: gr.Textbox, check_wanted: gr.Checkbox
) -> Dependency:
    """Connect the Run and Stop buttons.

    Args:
        inputs: the components of a `Request`, in the order of its fields.
        last_run: holds the visitor's last `FinishedRun`.
        client: holds what the browser says of itself.
        check_wanted: whether each run is checked, see `trust_check`.

    Returns:
        The event after which `last_run` holds the new run.
    """
    signal = gr.State(StopSignal())

    def begin(stop: StopSignal):
        stop.begin()
        return status("Waiting for the model…", busy=True), ""

    @told_in_status(3)
    def answer(stop: StopSignal, told: str | None, *values):
        request = Request.of(*values)
        with turn(vlm, AIM.name, request, stop) as note:
            for update in handlers.answer(vlm, request, stop, kept=kept_by(told)):
                for complete in update.run.answers if update.run else ():
                    note(complete)
                stop.complete = update.run is not None and not stop.asked
                yield _values(update)

    # The screen notices that a run has been asked for, so that nothing old is taken for its result.
    started = gr.on([asking.run.click, asking.question.submit], begin, signal, [results.status, results.note], **QUIET)
    answering: dict[str, Any] = {"trigger_mode": "once", "show_progress_on": [results.status], **ONE_AT_A_TIME}
    finished = started.success(answer, [signal, client, *inputs], [results.status, results.screen, last_run], js=SENDING, **answering)
    asking.stop.click(halt, signal, results.status, **QUIET)
    connect_trust_check(vlm, finished, asking.stop, signal, last_run, check_wanted, results.note)
    return finished


def _values(update: Update) -> list:
    return [update.status, *(gr.skip() if value is None else value for value in (update.screen, update.run))]
