"""The knobs while they move: the plan follows each of them, and some move others. What is being dragged is never written to."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency

from aim.ui import knobs
from aim.ui.asking import Asking
from aim.ui.handlers import FinishedRun
from aim.ui.seen import UNSEEN, Seen
from aim.ui.starting import QUIET


def connect_knobs(vlm, question: gr.Textbox, controls: dict[str, Any], seen: gr.State) -> None:
    """Connect the knobs. `controls` are the knobs by their names in `FIELDS`, and `preset` and `plan`; `seen` holds a `Seen`."""
    merge_ratio, l1, l2, *others = (controls[name] for name in knobs.PLANNED)
    planned_by = [seen, question, merge_ratio, l1, l2, *others]
    preset, plan = controls["preset"], controls["plan"]

    def planned(seen, question, *values):
        return knobs.plan(vlm, question, *values, seen=seen), knobs.name_of(vlm, *values[:3])

    def moved_l1(seen, question, merge_ratio, l1, l2, *rest):
        l2 = knobs.follow_l1(l1, l2)
        return *planned(seen, question, merge_ratio, l1, l2, *rest), l2

    def moved_l2(seen, question, merge_ratio, l1, l2, *rest):
        l1 = knobs.follow_l2(l1, l2)
        return *planned(seen, question, merge_ratio, l1, l2, *rest), l1

    def chosen(seen, question, name, *rest):
        values = knobs.follow_preset(vlm, name)
        return *values, knobs.plan(vlm, question, *values, *rest, seen=seen)

    following: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
    frames = controls["num_frames"]  # an example sets it too
    turned = [merge_ratio.input, *(other.change if other is frames else other.input for other in others), question.change]
    gr.on(turned, planned, planned_by, [plan, preset], **following)
    l1.input(moved_l1, planned_by, [plan, preset, l2], **following)
    l2.input(moved_l2, planned_by, [plan, preset, l1], **following)
    preset.input(chosen, [seen, question, preset, *others], [merge_ratio, l1, l2, plan], **following)
    damping, restart = controls["damping"], controls["restart"]
    restart.input(knobs.follow_restart, [restart, damping], damping, **following)
    damping.input(knobs.follow_damping, [damping, restart], restart, **following)


def connect_seen(vlm, asking: Asking, controls: dict[str, Any], seen: gr.State, last_run: gr.State, drawn: Dependency) -> None:
    """After a run the plan is for the frames that it read. Another video is unknown until it is read."""
    planned_by = [asking.question, *(controls[name] for name in knobs.PLANNED)]

    def look(run: FinishedRun | None, video: str | None, question: str | None, *values):
        if run is None or run.request.video != video:
            return gr.skip(), gr.skip()
        read = Seen.of(run.frames, int(run.request.num_frames))
        return read, knobs.plan(vlm, question, *values, seen=read)

    def plan(seen: Seen, question: str | None, *values):
        return knobs.plan(vlm, question, *values, seen=seen)

    drawn.success(look, [last_run, asking.video, *planned_by], [seen, controls["plan"]], **QUIET)
    forgotten = asking.video.change(lambda: UNSEEN, None, seen, **QUIET)
    forgotten.success(plan, [seen, *planned_by], controls["plan"], **QUIET)
