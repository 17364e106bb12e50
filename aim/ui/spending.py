"""Use the savings: the full model's FLOPs on these frames pay for more frames with the present knobs, and both settings are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.methods import Full, Method
from aim.runtime.answer import Answer
from aim.runtime.compare import whole_answer
from aim.tuning.spending import frames_for
from aim.ui import knobs
from aim.ui.handlers import STOPPED_EARLY, remember, status
from aim.ui.request import Request, check
from aim.ui.stop import StopSignal
from aim.video.clip import Clip, read_video
from aim.views.tradeoff import spent_table
from aim.views.units import flops

TOWER = "This leaves out the vision tower, which looks at every frame. The table gives its time."


def saving(vlm, question: str | None, *values) -> tuple[str, str]:
    """How many frames the full model's FLOPs pay for with these knobs, as HTML, and the button's label. No more frames: the label is "".

    Args:
        values: in the order of `aim.ui.knobs.PLANNED`.
    """
    request = knobs.planned_request(question, values)
    frames = int(request.num_frames)
    try:
        tflops, paid = paid_frames(vlm, request.method(), question, frames)
    except ValueError as error:
        return _help(str(error)), ""
    if paid <= frames:
        return _help(f"With these knobs, the full model's FLOPs on {frames} frames pay for no more frames than that."), ""
    cap = ", the most this model takes" if paid == vlm.max_frames else ""
    told = f"The full model's FLOPs on {frames} frames ({flops(tflops)}) pay for {paid} frames with these knobs{cap}. {TOWER}"
    return _help(told), f"Compare: full model on {frames} frames, AIM on {paid}"


def paid_frames(vlm, method: Method, question: str | None, frames: int) -> tuple[float, int]:
    """The full model's prefill on so many frames in TFLOP, and the most frames the method can take for it.

    Raises:
        ValueError: it does not pay for one frame.
    """
    text_tokens = knobs.text_tokens(vlm, question, frames)
    tflops = vlm.plan(frames, text_tokens, Full()).prefill_tflops
    return tflops, frames_for(vlm, method, tflops, vlm.max_frames, text_tokens)


def spending(
    vlm,
    request: Request,
    clips: dict,
    stop: StopSignal,
    note: Callable[[Answer], None],
    read: Callable[..., Clip] = read_video,
) -> Iterator[tuple[str, Any, dict | Any]]:
    """Run the full model, and AIM on as many frames as that pays for. Yields (status, table, clips) to show meanwhile.

    Args:
        note: called with each whole answer.

    Raises:
        ValueError: see `check`, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    method, answers = request.method(), []
    _, paid = paid_frames(vlm, method, request.question, int(request.num_frames))
    for what, chosen, frames in (("The full model", Full(), int(request.num_frames)), ("AIM", method, paid)):
        yield status(f"{what} runs on {frames} frames…", busy=True), gr.skip(), gr.skip()
        answer = None
        with suppress(Stopped):
            clips = remember(clips, replace(request, num_frames=frames), read, stop)
            answer = whole_answer(vlm, clips[request.video, frames], request.question, chosen, int(request.max_new_tokens), stop)
        if answer is None:
            yield status(STOPPED_EARLY), "", clips
            return
        note(answer)
        answers.append(answer)
    had = len(clips[request.video, paid].frames)
    short = f" The video has {had} frames, not {paid}." if had < paid else ""
    yield status(f"Done.{short}"), spent_table(*answers), clips


def _help(text: str) -> str:
    return f'<p class="aim-help">{escape(text)}</p>'
