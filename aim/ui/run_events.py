"""Run and Stop: the checks before a run, the answer while it grows, and what is drawn when it has ended."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

import gradio as gr
from gradio.events import Dependency

from aim.methods import AIM
from aim.ui import handlers
from aim.ui.asking import Asking
from aim.ui.errors import message, politely
from aim.ui.handlers import FinishedRun, Update
from aim.ui.request import Request, check
from aim.ui.results import Results
from aim.ui.run_log import log_unstarted
from aim.ui.starting import AT_ONCE, ONE_AT_A_TIME, QUIET, SESSION_SECONDS, halt
from aim.ui.stop import StopSignal
from aim.ui.tab import Tab
from aim.ui.trust_check import connect_trust_check
from aim.ui.turn import turn


def connect_run(
    vlm, asking: Asking, inputs: list, results: Results, tabs: list[Tab], check_wanted: gr.Checkbox
) -> tuple[gr.State, Dependency]:
    """Connect the Run and Stop buttons.

    Args:
        inputs: the components of a `Request`, in the order of its fields.
        tabs: they become active and are drawn after each run.
        check_wanted: whether each run is checked, see `trust_check`.

    Returns:
        The state that holds the last `FinishedRun`, and the event after which every tab shows it.
    """
    last_run, signal = gr.State(None, time_to_live=SESSION_SECONDS), gr.State(StopSignal())

    def begin(stop: StopSignal, *values):
        request = Request.of(*values)
        try:
            check(request, vlm.max_frames)
        except Exception as error:
            log_unstarted(vlm, AIM.name, request.num_frames, error)
            raise message(error) from None
        stop.begin()
        label = f"{'With these knobs' if request.compare else 'Answer'}: {shorten(request.question, 80, placeholder='…')}"
        return handlers.status("Waiting for the model…", busy=True), gr.Textbox(label=label), gr.Textbox(visible=request.compare)

    @politely
    def answer(stop: StopSignal, *values):
        request = Request.of(*values)
        with turn(vlm, AIM.name, request, stop) as note:
            for update in handlers.answer(vlm, request, stop):
                for complete in update.run.answers if update.run else ():
                    note(complete)
                yield _values(update)

    def refused():
        return handlers.status("Nothing was run. The message says why.")

    def failed(stop: StopSignal):
        stop.end()
        return refused()

    started = gr.on(
        [asking.run.click, asking.question.submit],
        begin,
        [signal, *inputs],
        [results.status, results.answer, results.full_answer],
        **AT_ONCE,
    )
    started.failure(refused, None, results.status, **QUIET)
    shown = [results.status, results.answer, results.note, results.full_answer, results.figures, last_run]
    answering: dict[str, Any] = {"trigger_mode": "once", "show_progress_on": [results.status], **ONE_AT_A_TIME}
    finished = started.success(answer, [signal, *inputs], shown, **answering)
    finished.failure(failed, signal, results.status, **QUIET)
    drawn = connect_drawing(finished, last_run, tabs)
    asking.stop.click(halt, signal, results.status, **QUIET)
    connect_trust_check(vlm, finished, asking.stop, signal, last_run, check_wanted, results.note)
    return last_run, drawn


def connect_drawing(finished: Dependency, last_run: gr.State, tabs: list[Tab]) -> Dependency:
    """Once a run has finished, activate the tabs and then draw it in them. Returns the event that ends this."""
    placeholders = [tab.placeholder for tab in tabs if tab.placeholder is not None]
    waiting = [tab.place for tab in tabs if tab.needs_run]
    outputs = [component for tab in tabs for component in tab.outputs]

    def activate(run: FinishedRun | None):
        return *(gr.HTML(visible=run is None) for _ in placeholders), *(gr.Tab(interactive=run is not None) for _ in waiting)

    def draw(run: FinishedRun | None):
        if run is None:
            return [gr.skip() for _ in outputs]
        return [value for tab in tabs for value in tab.draw(run)]

    active = finished.success(activate, last_run, [*placeholders, *waiting], **QUIET)
    return active.success(draw, last_run, outputs, **QUIET)


def _values(update: Update) -> list:
    values = [update.answer, update.note, update.full_answer, update.figures, update.run]
    return [update.status, *(gr.skip() if value is None else value for value in values)]
