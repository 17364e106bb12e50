"""What happens on Run, as a function of plain values. It knows no component, no browser and no global state.

A mistake that the visitor can mend is a `Refusal`. `errors.politely` turns it into a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import cast

import numpy as np

from aim.engine.stopping import Stopped
from aim.kernels.trace import Trace
from aim.planning.plan import Plan
from aim.runtime.vlm import Answer
from aim.ui.model import AppModel
from aim.ui.request import Request, check
from aim.ui.stop import StopSignal
from aim.video.clip import Clip, read_video
from aim.views.figures import KEPT, comparison, figures, steps
from aim.views.units import seconds

STOPPED_EARLY = "Stopped before there was anything new to show."
READY = "Press Run to ask the question about this video."
TOO_LARGE = "The full model does not fit into the memory here, so there is nothing to compare with."
REUSED = "The vision features of this clip were reused."


@dataclass(frozen=True)
class FinishedRun:
    """What is kept of a finished run, so that it is drawn and saved without the model.

    Attributes:
        clip: () → the clip, which the app's store keeps or reads again. A visitor's session holds none itself.
        full: the full model's answer, if asked for.
    """

    clip: Callable[[], Clip]
    answer: Answer
    plan: Plan
    request: Request
    full: Answer | None = None

    @property
    def frames(self) -> np.ndarray:
        return self.clip().frames

    @property
    def timestamps(self) -> np.ndarray:
        return self.clip().timestamps

    @property
    def trace(self) -> Trace:
        return cast(Trace, self.answer.trace)  # a complete answer has one

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The complete answers, one for each run of the model."""
        return (self.answer,) if self.full is None else (self.answer, self.full)


@dataclass(frozen=True)
class Update:
    """What the page shows next while a run goes on. None leaves a component as it is. The last update of a run has a value for each."""

    status: str
    answer: str | None = None
    note: str | None = None
    full_answer: str | None = None
    figures: str | None = None
    run: FinishedRun | None = None


def answer(vlm: AppModel, request: Request, stop: StopSignal, read: Callable[..., Clip] | None = None) -> Iterator[Update]:
    """Run the model, and after it the full model if asked to. Yields what to show while they work.

    Args:
        stop: the visitor may have asked for it while waiting in the queue, or may ask later.
        read: default `aim.read_video`, which `stop` ends too.

    Raises:
        Refusal: see `check`, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    if stop.is_set():
        yield Update(status(STOPPED_EARLY))
        return
    decoded = (request.video, request.num_frames) in vlm.clips
    reused = KEPT[:1] if decoded else ()
    yield Update(status("Working", steps({}, reused, "vision" if decoded else "decode"), busy=True), answer="", note="", full_answer="")
    try:
        clip = vlm.clips.clip(request.video, request.num_frames, stop, read or read_video)
    except Stopped:
        yield Update(status(STOPPED_EARLY))
        return
    times = {} if decoded else {"decode_video": clip.decode_seconds}
    yield Update(status("Working", steps(times, reused, "vision"), busy=True))

    current: Answer | None = None
    full: Answer | None = None
    too_large = ""
    scores = "all" if request.score_every_layer else "pruning"
    asked = {"clip": clip, "question": request.question, "method": request.method(), "max_new_tokens": int(request.max_new_tokens)}
    for said in vlm.run("ask", stop, **asked, scores=scores, compare=request.compare):
        if said.by_full:
            full, too_large = said.answer, "" if said.answer else TOO_LARGE
            if full is not None and full.trace is None:
                yield Update(_progress("Running the full model", full, {}, True), answer=current.text, full_answer=full.text)
        else:
            current = said.answer
            if current.trace is None:
                yield Update(_progress("Working", current, times, decoded), answer=current.text, note=note(current))
    if current is None or current.trace is None:
        yield Update(status(STOPPED_EARLY))
        return
    if full is not None and full.trace is None:
        full = None
    held = partial(vlm.clips.clip, request.video, request.num_frames, read=read or read_video)
    finished = FinishedRun(held, current, _plan(vlm, clip, request), request, full)
    yield Update(
        status=status(f"{_ending(current, stop)} {too_large}".strip(), steps(times | current.timings, _reused(current, decoded))),
        answer=current.text,
        note=note(current),
        full_answer=full.text if full else "",
        figures=figures(current) + (comparison(current, full) if full else ""),
        run=finished,
    )


def request_stop(stop: StopSignal) -> str:
    """Ask the run to end. Returns the status line."""
    if not stop.busy:
        stop.asked = True  # what follows a finished run is not wanted either
        return status("Nothing is running.")
    stop.ask()
    return status("Stopping…", busy=True)


def status(text: str, stages: str = "", busy: bool = False) -> str:
    """The status line as HTML: what goes on, and below it the stages (`aim.views.figures.steps`)."""
    return f'<div class="aim-status" role="status"><p class="{"aim-busy" if busy else "aim-idle"}">{escape(text)}</p>{stages}</div>'


def note(answer: Answer) -> str:
    """What the model says about its answer, such as words it does not know, as HTML. "" if it says nothing."""
    return f'<div class="aim-note aim-warning" role="note">{escape(answer.note)}</div>' if answer.note else ""


def _progress(text: str, answer: Answer, times: dict[str, float], decoded: bool) -> str:
    running = "answer" if "llm_prefill" in answer.timings else "prefill"
    return status(text, steps(times | answer.timings, _reused(answer, decoded), running), busy=True)


def _reused(answer: Answer, decoded: bool) -> tuple[str, ...]:
    """The stages that an earlier run has done. The app's store keeps frames, and the model keeps vision features."""
    return tuple(stage for stage, kept in zip(KEPT, (decoded, answer.features_reused), strict=True) if kept)


def _ending(answer: Answer, stop: StopSignal) -> str:
    if stop.asked:
        return "Stopped. The answer so far stays."
    reused = REUSED if answer.features_reused else ""
    return f"Answered in {seconds(answer.timings['total'])} (reading the video not included). {reused}".strip()


def _plan(vlm: AppModel, clip: Clip, request: Request) -> Plan:
    """What this run was to cost, on the clip's own grid."""
    frames = len(clip.frames)
    text_tokens = vlm.text_tokens(request.question, frames, times=clip.timestamps.tolist())
    return vlm.plan(frames, text_tokens, request.method(), vlm.grid(frames, *clip.frames.shape[1:3]))
