"""The knobs while they move. Some move others, in the browser and at once. The plan follows them where a move starts no run."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from gradio.events import Dependency

from aim.methods.presets import CIRCULATING, circulating
from aim.ui import knobs
from aim.ui.asking import Asking
from aim.ui.handlers import FinishedRun
from aim.ui.seen import UNSEEN, Seen
from aim.ui.starting import QUIET
from aim.views.curve import score_quantiles

# l1 < l2. What is being dragged is never written to.
FOLLOW_L1, FOLLOW_L2 = "(l1, l2) => Math.max(l2, l1 + 1)", "(l1, l2) => Math.min(l1, l2 - 1)"
# A walk that starts again on the question needs a damping above 0, and without damping it never starts again.
FOLLOW_RESTART = f"(restart, damping) => restart === 'question' ? damping || {knobs.QUESTION_DAMPING} : damping"
FOLLOW_DAMPING = "(damping, restart) => damping ? restart : 'uniform'"


def connect_knobs(vlm, question: gr.Textbox, controls: dict[str, Any], seen: gr.State) -> None:
    """Connect the knobs. `controls` are the knobs by their names in `FIELDS`, and `preset` and `plan`; `seen` holds a `Seen`."""
    merge_ratio, l1, l2, *others = (controls[name] for name in knobs.PLANNED)
    chosen, ramp, set_by_preset = controls["preset"], [merge_ratio, l1, l2], [controls[name] for name in knobs.PRESET]
    table = json.dumps(knobs.presets_of(vlm))
    here: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    l1.input(None, [l1, l2], l2, js=FOLLOW_L1, **here)
    l2.input(None, [l1, l2], l1, js=FOLLOW_L2, **here)
    known = json.dumps({name: circulating(name, vlm.num_layers) for name in CIRCULATING})
    others_known = controls["circulating"]
    others_known.input(None, others_known, ramp, js=f"name => ({known})[name]", **here)
    chosen.input(None, chosen, set_by_preset, js=f"name => ({table})[name]", **here)
    named = (
        f"(...values) => Object.entries({table}).find(([, known]) => known.every((value, place) => value === values[place]))?.[0] ?? null"
    )
    gr.on([part.change for part in set_by_preset], None, set_by_preset, chosen, js=named, **here)
    damping, restart = controls["damping"], controls["restart"]
    restart.input(None, [restart, damping], damping, js=FOLLOW_RESTART, **here)
    damping.input(None, [damping, restart], restart, js=FOLLOW_DAMPING, **here)
    if not vlm.live:
        planned_by = [seen, question, *ramp, *others]
        turned = [part.change for part in planned_by[1:]]
        gr.on(
            turned,
            lambda seen, *values: knobs.plan(vlm, *values, seen=seen),
            planned_by,
            controls["plan"],
            trigger_mode="always_last",
            **QUIET,
        )


def connect_seen(vlm, asking: Asking, controls: dict[str, Any], seen: gr.State, last_run: gr.State, finished: Dependency) -> None:
    """After a run the plan is for the frames that it read. Another video is unknown until it is read."""
    planned_by = [asking.question, *(controls[name] for name in knobs.PLANNED)]

    def look(run: FinishedRun | None, video: str | None, question: str | None, *values):
        if run is None or run.request.video != video:
            return gr.skip(), gr.skip()
        read = Seen.of(run.frames, int(run.request.num_frames), run.clip().is_image)
        wanted, ran = knobs.planned_request(question, values).values(), run.request.values()
        scores = score_quantiles(run.trace) if all(wanted[name] == ran[name] for name in ("question", *knobs.PLANNED)) else None
        return read, knobs.plan_of(vlm, knobs.planned_request(question, values), read, scores)

    def plan(seen: Seen, question: str | None, *values):
        return knobs.plan(vlm, question, *values, seen=seen)

    finished.success(look, [last_run, asking.video, *planned_by], [seen, controls["plan"]], **QUIET)
    if not vlm.live:
        forgotten = asking.video.change(lambda: UNSEEN, None, seen, **QUIET)
        forgotten.success(plan, [seen, *planned_by], controls["plan"], **QUIET)
