"""Use the savings. The full model's FLOPs on these frames pay for more frames with the present knobs, and both settings are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.methods import Full, Method
from aim.runtime.answer import Answer
from aim.tuning.spending import frames_for
from aim.ui import knobs
from aim.ui.errors import sentence
from aim.ui.handlers import STOPPED_EARLY, status
from aim.ui.model import AppModel
from aim.ui.request import Request, check, whole_number
from aim.ui.seen import UNSEEN, Seen
from aim.ui.stop import StopSignal
from aim.video.clip import Clip
from aim.video.media import read_media
from aim.views.tradeoff import spent_table
from aim.views.units import flops

TOWER = "This leaves out the vision tower, which looks at every frame. After a comparison, the table gives its time."


def saving(vlm, question: str | None, *values, seen: Seen = UNSEEN) -> tuple[str, str]:
    """How many frames the full model's FLOPs pay for with these knobs, as HTML, and the button's label.

    The label is "" where they pay for no more frames than there are.

    Args:
        values: in the order of `aim.ui.knobs.PLANNED`.
        seen: what is known of the video.
    """
    request = knobs.planned_request(question, values)
    try:
        frames = seen.frames(whole_number("The number of frames", request.num_frames))
        text = knobs.text_tokens(vlm, question, frames)
        tflops = vlm.plan(frames, text, Full(), seen.grid(vlm, frames)).prefill_tflops
        paid = _paid(vlm, request.method(), tflops, question, seen.height, seen.width)
    except Exception as error:
        return _help(sentence(error)), ""
    if paid <= frames:
        return _help(f"With this setting, the full model's FLOPs on {frames} frames pay for no more frames than that."), ""
    cap = ", the most this model takes" if paid == vlm.max_frames else ""
    told = f"The full model's FLOPs on {frames} frames ({flops(tflops)}) pay for {paid} frames with this setting{cap}. {TOWER}"
    return _help(told), f"Compare: full model on {frames} frames, AIM on {paid}"


def _paid(vlm, method: Method, tflops: float, question: str | None, height: int, width: int) -> int:
    """The most frames of that size that the method can take for so many TFLOP of prefill."""
    return frames_for(vlm, method, tflops, vlm.max_frames, partial(knobs.text_tokens, vlm, question), height, width)


def spending(
    vlm: AppModel,
    request: Request,
    stop: StopSignal,
    note: Callable[[Answer], None],
    read: Callable[..., Clip] = read_media,
) -> Iterator[tuple[str, Any]]:
    """Run the full model, and AIM on as many frames as that pays for. Yields (status, table) to show meanwhile.

    Args:
        note: called with each whole answer.

    Raises:
        Refusal: see `check`, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    method, asked, answers = request.method(), int(request.num_frames), []
    yield status("Reading the video…", busy=True), gr.skip()
    try:
        clip = vlm.clips.clip(request.video, asked, stop, read)
        frames, *size = clip.frames.shape[:3]
        text = knobs.text_tokens(vlm, request.question, frames)
        full = vlm.plan(frames, text, Full(), vlm.grid(frames, *size)).prefill_tflops
        paid = _paid(vlm, method, full, request.question, *size)
        more = vlm.clips.clip(request.video, paid, stop, read)
    except Stopped:
        yield status(STOPPED_EARLY), ""
        return
    yield status(f"The full model runs on {frames} frames…", busy=True), gr.skip()
    given = {"question": request.question, "method": method, "max_new_tokens": int(request.max_new_tokens), "tower": request.tower()}
    for answer in vlm.run("spend", stop, clip=clip, more=more, **given):
        note(answer)
        answers.append(answer)
        if len(answers) == 1:
            yield status(f"AIM runs on {paid} frames…", busy=True), gr.skip()
    if len(answers) < 2:
        yield status(STOPPED_EARLY), ""
        return
    had = len(more.frames)
    short = f" The video has {had} frames, not {paid}." if had < paid else ""
    yield status(f"Done.{short}"), spent_table(*answers)


def _help(text: str) -> str:
    return f'<p class="aim-help">{escape(text)}</p>'
