"""What happens on Run, as a function of plain values. It knows no component, no browser and no global state.

A mistake that the visitor can mend is a `Refusal`. `errors.told_in_status` puts it into the status line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np

from aim.engine.progress import PREFILL, TOWER
from aim.engine.stopping import Stopped
from aim.kernels.trace import Trace
from aim.planning.plan import Plan
from aim.runtime.vlm import Answer
from aim.ui.jobs import Said
from aim.ui.model import AppModel
from aim.ui.pace import pace_of
from aim.ui.request import Request, check
from aim.ui.status import status
from aim.ui.stop import StopSignal
from aim.ui.texts import public_name
from aim.video.clip import Clip
from aim.video.media import read_media
from aim.views.figures import KEPT, steps
from aim.views.screen import growing, screen, setting_in_words
from aim.views.units import seconds

STOPPED_EARLY = "Stopped before there was anything new to show."
READY = "Press Run to ask the question about this video."
TOO_LARGE = "The full model does not fit into the memory here, so there is nothing to compare with."
# How far a stage is, by its name.
FAR = {TOWER: "{0.done} of {0.total} frames are encoded", PREFILL: "the prompt has passed {0.done} of {0.total} layers"}
# Seconds between two looks at an answer that grows. A slow browser that had to draw every word of a fast model would not hear Stop.
GROWN_AFTER = 0.1
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
    """What the page shows next while a run goes on. None leaves a component as it is.

    Attributes:
        status: HTML of the status line.
        screen: see `aim.views.screen`.
        run: set once the run is complete.
    """

    status: str
    screen: dict[str, Any] | None = None
    run: FinishedRun | None = None


def answer(vlm: AppModel, request: Request, stop: StopSignal, read: Callable[..., Clip] | None = None, kept: str = "") -> Iterator[Update]:
    """Run the model, and the full model too if asked to, or if it is cheap and its answer is not known. Yields what to show meanwhile.

    Args:
        stop: the visitor may have asked for it while waiting in the queue, or may ask later.
        read: default `aim.read_media`, which `stop` ends too.
        kept: the name of the frames that the visitor's browser has.

    Raises:
        Refusal: see `check`, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    if stop.is_set():
        yield Update(status(STOPPED_EARLY))
        return
    decoded = (request.video, request.num_frames) in vlm.clips
    reused = KEPT[:1] if decoded else ()
    yield Update(status("Working", steps({}, reused, "vision" if decoded else KEPT[0]), busy=True))
    try:
        clip = vlm.clips.clip(request.video, request.num_frames, stop, read or read_media)
    except Stopped:
        yield Update(status(STOPPED_EARLY))
        return
    times = {} if decoded else {"decode_video": clip.decode_seconds}
    yield Update(status("Working", steps(times, reused, "vision"), busy=True))

    current: Answer | None = None
    full = known_full(vlm, request, clip)
    too_large = ""
    compared = wants_full(vlm, request) and full is None
    for said in _seldom(vlm.run("ask", stop, **asked(vlm, request, clip), compare=compared, progress=True)):
        if said.by_full:
            full, too_large = said.answer, "" if said.answer else TOO_LARGE
            if full is not None and full.trace is None and current is not None:
                told = growing(current.text, current.note, full.text)
                yield Update(_progress("Running the full model", full, {}, True), told)
        else:
            current = cast(Answer, said.answer)
            if current.trace is None:
                yield Update(_progress("Working", current, times, decoded), growing(current.text, current.note) if current.text else None)
    if current is None or current.trace is None:
        yield Update(status(STOPPED_EARLY))
        return
    ending = f"{_ending(current, stop)} {too_large}".strip()
    shown = status(ending, steps(times | current.timings, _reused(current, decoded)))
    yield finish(vlm, request, clip, current, full, shown, kept, stop.asked, read)


def _seldom(streamed: Iterable[Said]) -> Iterator[Said]:
    """Without the looks at a growing answer that follow the last one too soon. The first word and the whole answer stay."""
    shown = dict.fromkeys((False, True), -math.inf)
    for said in streamed:
        if said.answer is not None and said.answer.trace is None and said.answer.text:
            if time.monotonic() - shown[said.by_full] < GROWN_AFTER:
                continue
            shown[said.by_full] = time.monotonic()
        yield said


def finish(
    vlm: AppModel,
    request: Request,
    clip: Clip,
    answer: Answer,
    full: Answer | None,
    shown: str,
    kept: str = "",
    stopped: bool = False,
    read: Callable[..., Clip] | None = None,
) -> Update:
    """The last update of a run.

    Args:
        full: the full model's answer, complete or not, None where it did not run.
        shown: HTML of the status line.
        stopped: whether the answers may be cut short. Then the full model's is not kept.
    """
    if full is not None:
        if full.trace is None:
            full = None
        elif not stopped:
            full = vlm.full_answers.keep(clip, request.question, int(request.max_new_tokens), full)
    answer, full = _for_anybody(answer), None if full is None else _for_anybody(full)
    held = partial(vlm.clips.clip, request.video, request.num_frames, read=read or read_media)
    run = FinishedRun(held, answer, planned(vlm, clip, request), request, full)
    knobs = answer.method.params()
    frames = len(clip.frames)
    names = {
        "picture": f"{clip.digest[:20]}-{frames}",
        "setting": setting_in_words(knobs["merge_ratio"], knobs["l1"], knobs["l2"], frames, answer.tower),
    }
    pace = {} if stopped else pace_of(vlm, answer)
    return Update(shown, screen(answer, run, run.plan, list(request.values().values()), names, full, kept) | pace, run)


def _for_anybody(answer: Answer) -> Answer:
    """The answer as it is saved and shared: it names no folder of this host."""
    return replace(answer, model=public_name(answer.model))


def asked(vlm: AppModel, request: Request, clip: Clip) -> dict[str, Any]:
    """The arguments of the job `ask`."""
    scores = "all" if request.score_every_layer else "pruning"
    return {
        "clip": clip,
        "question": request.question,
        "method": request.method(),
        "tower": request.tower(),
        "max_new_tokens": int(request.max_new_tokens),
        "scores": scores,
        "words": True,
    }


def wants_full(vlm: AppModel, request: Request) -> bool:
    """Whether the full model's answer stands beside this one: where it was asked for, and wherever it is cheap."""
    return request.compare or vlm.live


def known_full(vlm: AppModel, request: Request, clip: Clip) -> Answer | None:
    """The full model's answer, where it is wanted and known from before."""
    return vlm.full_answers.of(clip, request.question, int(request.max_new_tokens)) if wants_full(vlm, request) else None


def request_stop(stop: StopSignal) -> str:
    """Ask the run to end. Returns the status line."""
    if not stop.busy:
        stop.asked = True  # what follows a finished run is not wanted either
        return status("Nothing is running.")
    stop.ask()
    return status("Stopping…", busy=True)


def _progress(text: str, answer: Answer, times: dict[str, float], decoded: bool) -> str:
    running = "answer" if "llm_prefill" in answer.timings else "prefill"
    if answer.progress is not None:
        running, text = answer.progress.stage, f"{text}: {FAR[answer.progress.stage].format(answer.progress)}"
    return status(text, steps(times | answer.timings, _reused(answer, decoded), running), busy=True)


def _reused(answer: Answer, decoded: bool) -> tuple[str, ...]:
    """The stages that an earlier run has done. The app's store keeps frames, and the model keeps vision features."""
    return tuple(stage for stage, kept in zip(KEPT, (decoded, answer.features_reused), strict=True) if kept)


def _ending(answer: Answer, stop: StopSignal) -> str:
    if stop.asked:
        return "Stopped. The answer so far stays."
    reused = REUSED if answer.features_reused else ""
    return f"Answered in {seconds(answer.timings['total'])} (reading the video not included). {reused}".strip()


def planned(vlm: AppModel, clip: Clip, request: Request) -> Plan:
    """What this run was to cost, on the clip's own grid."""
    frames = len(clip.frames)
    grid = vlm.grid_of(clip)
    text_tokens = vlm.text_tokens(request.question, frames, grid, clip.timestamps.tolist())
    return vlm.plan(frames, text_tokens, request.method(), grid, request.tower())
