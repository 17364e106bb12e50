"""The check after a run: one prefill with a milder setting, and a warning where the two settings disagree about the answer."""

from __future__ import annotations

from html import escape

import gradio as gr
from gradio.events import Dependency

from aim.tuning.trust import Verdict, guard
from aim.ui.errors import message
from aim.ui.handlers import FinishedRun, note
from aim.ui.stop import StopSignal

UNCHECKED = "The app could not check whether the reduction changed this answer."


def connect_trust_check(
    vlm, finished: Dependency, signal: gr.State, last_run: gr.State, clips: gr.State, wanted: gr.Checkbox, place: gr.HTML, **queue
) -> None:
    """Check each run that ended well. The check waits in the model's queue, and the answer never waits for it."""

    def look(stop: StopSignal, run: FinishedRun | None, clips: dict, wanted: bool):
        if not wanted or stop.asked or run is None:
            return gr.skip()
        try:
            return warned(run, checked(vlm, run, clips))
        except Exception as error:
            message(error)  # logs what is ours; a box would look as if the run had failed
            return note(run.answer) + _line(UNCHECKED)

    finished.success(look, [signal, last_run, clips, wanted], place, **queue)


def checked(vlm, run: FinishedRun, clips: dict) -> Verdict | None:
    """The verdict on a run. None if nothing was reduced, if the full model answered too, or if the clip was let go."""
    clip = clips.get((run.request.video, run.request.num_frames))
    if clip is None or run.full is not None or reduces_nothing(run):
        return None
    return guard(vlm, clip, run.request.question, run.answer)


def reduces_nothing(run: FinishedRun) -> bool:
    """Whether every layer ran on every visual token."""
    return all(visual == run.trace.visual_tokens for visual, _ in run.trace.tokens_per_layer)


def warned(run: FinishedRun, verdict: Verdict | None) -> str:
    """The note below the answer, as HTML: what the model says itself, and the warning of a doubtful verdict."""
    return note(run.answer) + (_line(verdict.sentence) if verdict is not None and verdict.doubtful else "")


def _line(text: str) -> str:
    return f'<div class="aim-note aim-warning" role="status">{escape(text)}</div>'
