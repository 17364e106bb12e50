"""Live runs: the model answers again when a knob moves or is let go, if its runs are cheap enough for that. One event does it all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.methods import AIM
from aim.ui import handlers, knobs
from aim.ui.errors import sentence
from aim.ui.gate import MOST, Held
from aim.ui.handlers import FinishedRun, Update
from aim.ui.model import AppModel
from aim.ui.request import Request, check
from aim.ui.results import Results
from aim.ui.run_log import logged
from aim.ui.seen import UNSEEN, Seen
from aim.ui.status import not_run, status
from aim.views.curve import score_quantiles
from aim.views.figures import KEPT, steps
from aim.views.units import seconds

WAITS = "Another visitor's run holds the model. This setting follows as soon as that has ended."
AGAIN_MS = 400  # when the browser asks again
MOST_COSTLY = 4  # live runs at once where one may take seconds


def live(vlm: AppModel, request: Request, visitor: str, kept: str = "") -> Update | None:
    """Run a setting, if nobody's Run is at the model.

    Args:
        visitor: whose setting it is. A newer one of the same visitor ends it.
        kept: the name of the frames that the browser has.

    Returns:
        What to show: the finished run; or a screen with "again", the milliseconds after which the browser should ask once more; or a
        status without a screen, which says why there is none. None where a newer setting took its place.
    """
    unasked = bool(request.video) and not request.question.strip()  # the clip has just been uploaded
    try:
        check(replace(request, question="?") if unasked else request, vlm.max_frames)
        most = MOST if vlm.live else MOST_COSTLY
        with vlm.gate.live(visitor, most) as stop, logged(vlm, AIM.name, request.num_frames, stop.is_set) as note:
            decoded = (request.video, request.num_frames) in vlm.clips
            clip = vlm.clips.clip(request.video, request.num_frames, stop)
            if unasked:  # a file that cannot be read is told first
                check(request, vlm.max_frames)
            full, current = handlers.known_full(vlm, request, clip), None
            compare = handlers.wants_full(vlm, request) and full is None
            for said in vlm.run("ask", stop, **handlers.asked(vlm, request, clip), compare=compare):
                if said.by_full:
                    full = said.answer
                else:
                    current = said.answer
            if stop.is_set() or current is None or current.trace is None:
                return Update(status(WAITS, busy=True), {"again": AGAIN_MS}) if stop.gave_way else None
            note(current)
    except Held:
        return Update(status(WAITS, busy=True), {"again": AGAIN_MS})
    except Stopped:  # while the clip was read
        return Update(status(WAITS, busy=True), {"again": AGAIN_MS}) if stop.gave_way else None
    except Exception as error:
        return Update(not_run(sentence(error)))
    times = {} if decoded else {"decode_video": clip.decode_seconds}
    reused = tuple(stage for stage, known in zip(KEPT, (decoded, current.features_reused), strict=True) if known)
    told = f"Answered in {seconds(current.timings['total'])}."
    return handlers.finish(vlm, request, clip, current, full, status(told, steps(times | current.timings, reused)), kept)


def connect_live(
    vlm: AppModel, inputs: list, controls: dict[str, Any], results: Results, last_run: gr.State, client: gr.Textbox, seen: gr.State
) -> None:
    """The screen's event `select` starts a run; the browser sends it at the pace that `aim.ui.pace` tells (`assets/page/screen.js`).

    While one is under way, only the newest setting is remembered.

    Args:
        inputs: the components of a `Request`, in the order of its fields.
        client: holds what the browser says of itself, see `kept_by`.
    """

    def run(browser: gr.Request, last: FinishedRun | None, told: str | None, *values):
        request = Request.of(*values)
        update = None if last is not None and last.request == request else live(vlm, request, browser.session_hash or "", kept_by(told))
        if update is None:
            return [gr.skip()] * 6
        if (done := update.run) is None:
            known = (
                Seen.of(last.frames, int(last.request.num_frames), last.clip().is_image)
                if last and last.request.video == request.video
                else UNSEEN
            )
            screen = gr.skip() if update.screen is None else update.screen
            return [screen, update.status, gr.skip(), knobs.plan_of(vlm, request, known), gr.skip(), gr.skip()]
        known = Seen.of(done.frames, int(request.num_frames), done.clip().is_image)
        plan = knobs.plan_of(vlm, request, known, score_quantiles(done.trace))
        # Where runs are checked, what a check said was of another setting. Elsewhere the note is of the link that was opened.
        return [update.screen, update.status, done, plan, known, gr.skip() if vlm.live else ""]

    results.screen.select(
        run,
        [last_run, client, *inputs],
        [results.screen, results.status, last_run, controls["plan"], seen, results.note],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode="always_last",
        js=SENDING,
    )


# The browser fills in the value of the hidden component `client`, and keeps l1 below l2 where one of them has just been moved.
SENDING = "(...values) => window.aimPage ? window.aimPage.sending(values, 2) : values"


def kept_by(told: Any) -> str:
    """The name of the frames that a browser says it has. "" for anything else than that."""
    try:
        kept = json.loads(told)["kept"] if isinstance(told, str) else ""
    except (ValueError, TypeError, KeyError):
        return ""
    return kept if isinstance(kept, str) else ""
