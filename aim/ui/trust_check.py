"""The check after a run: one prefill with a milder setting, and a warning where the two settings disagree about the answer."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import gradio as gr
from gradio.events import Dependency

from aim.tuning.trust import Verdict
from aim.ui.errors import sentence
from aim.ui.handlers import FinishedRun
from aim.ui.model import AppModel
from aim.ui.starting import ONE_AT_A_TIME, QUIET
from aim.ui.stop import StopSignal
from aim.ui.turn import turn

UNCHECKED = "The app could not check whether the reduction changed this answer."


def connect_trust_check(
    vlm: AppModel, finished: Dependency, stop: gr.Button, signal: gr.State, last_run: gr.State, wanted: gr.Checkbox, place: gr.HTML
) -> None:
    """Check each run that ended well. The check waits in the model's queue, and the answer never waits for it.

    Args:
        signal: of the run. A run that was stopped, or that failed, is not checked.
        wanted: whether runs are checked.
        place: where the note above the answer stands.
    """
    checking = gr.State(StopSignal())  # the run's own signal may belong to the visitor's next run by then

    def look(stop: StopSignal, checking: StopSignal, run: FinishedRun | None, wanted: bool):
        if not wanted or not stop.complete or run is None:
            return gr.skip()
        try:
            return warned(checked(vlm, run, checking))
        except Exception as error:
            sentence(error)  # logs what is ours. A message box would look as if the run had failed
            return _line(UNCHECKED)

    def end(checking: StopSignal) -> None:
        if checking.busy:
            checking.ask()

    finished.success(look, [signal, checking, last_run, wanted], place, **ONE_AT_A_TIME)
    stop.click(end, checking, None, **QUIET)


def checked(vlm: AppModel, run: FinishedRun, stop: StopSignal) -> Verdict | None:
    """The verdict on a run. None if nothing was reduced, if the full model answered too, or if it was stopped.

    Raises:
        Refusal: the clip's file is gone, or the milder setting does not fit into memory.
    """
    if run.full is not None or reduces_nothing(run):
        return None
    stop.begin()
    with turn(vlm, "guard", run.request, stop) as complete:
        asked = {"clip": run.clip(), "question": run.request.question, "answer": replace(run.answer, trace=None)}
        verdict = next(iter(vlm.run("guard", stop, **asked)), None)
        if verdict is not None:
            complete(None)
    return verdict


def reduces_nothing(run: FinishedRun) -> bool:
    """Whether every layer ran on every visual token."""
    return all(visual == run.trace.visual_tokens for visual, _ in run.trace.tokens_per_layer)


def warned(verdict: Verdict | None) -> str:
    """The note above the answer, as HTML: the warning of a doubtful verdict. "" where there is nothing to warn of."""
    return _line(verdict.sentence) if verdict is not None and verdict.doubtful else ""


def _line(text: str) -> str:
    return f'<div class="aim-note aim-warning" role="status">{escape(text)}</div>'
