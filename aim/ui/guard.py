"""The trust guard: after a run, one prefill with a milder setting, and a warning where the two see different answers coming."""

from __future__ import annotations

from html import escape

import gradio as gr

from aim.tuning.trust import Verdict, guard
from aim.ui.errors import message
from aim.ui.handlers import Run, note
from aim.ui.stop import StopSignal

UNCHECKED = "Whether the reduction changed this answer could not be checked."


def connect_guard(vlm, finished, signal: gr.State, last_run: gr.State, clips: gr.State, wanted: gr.Checkbox, place: gr.HTML, **queue):
    """Check each run that has ended well, in the model's queue and beside what is drawn meanwhile; the answer never waits for it."""

    def look(stop: StopSignal, run: Run | None, clips: dict, wanted: bool):
        if not wanted or stop.asked or run is None:
            return gr.skip()
        try:
            return warned(run, checked(vlm, run, clips))
        except Exception as error:
            message(error)  # logs what is ours; a box would look as if the run had failed
            return note(run.answer) + _line(UNCHECKED)

    finished.success(look, [signal, last_run, clips, wanted], place, **queue)


def checked(vlm, run: Run, clips: dict) -> Verdict | None:
    """The verdict on a run; None where nothing was reduced, the full model's answer stands beside it, or its clip is no longer there."""
    clip = clips.get((run.request.video, run.request.num_frames))
    if clip is None or run.full is not None or reduces_nothing(run):
        return None
    return guard(vlm, clip, run.request.question, run.answer)


def reduces_nothing(run: Run) -> bool:
    """Whether every layer ran on every visual token."""
    return all(visual == run.trace.visual_tokens for visual, _ in run.trace.tokens_per_layer)


def warned(run: Run, verdict: Verdict | None) -> str:
    """What stands beside the answer, as HTML: the model's own note, and the warning of a doubtful verdict."""
    return note(run.answer) + (_line(verdict.sentence) if verdict is not None and verdict.doubtful else "")


def _line(text: str) -> str:
    return f'<div class="aim-note aim-warning" role="status">{escape(text)}</div>'
