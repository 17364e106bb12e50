"""The knobs while they move: the plan follows each of them, and some move others. What is being dragged is never written to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from aim.ui import knobs
from aim.ui.starting import QUIET


def connect_knobs(vlm, question: gr.Textbox, controls: dict[str, Any]) -> None:
    """Connect the knobs. `controls` are the knobs by their names in `FIELDS`, and `preset` and `plan`."""
    merge_ratio, l1, l2, *others = (controls[name] for name in knobs.PLANNED)
    planned_by = [question, merge_ratio, l1, l2, *others]
    preset, plan = controls["preset"], controls["plan"]

    def planned(question, *values):
        return knobs.plan(vlm, question, *values), knobs.name_of(vlm, *values[:3])

    def moved_l1(question, merge_ratio, l1, l2, *rest):
        l2 = knobs.follow_l1(l1, l2)
        return *planned(question, merge_ratio, l1, l2, *rest), l2

    def moved_l2(question, merge_ratio, l1, l2, *rest):
        l1 = knobs.follow_l2(l1, l2)
        return *planned(question, merge_ratio, l1, l2, *rest), l1

    def chosen(question, name, *rest):
        values = knobs.follow_preset(vlm, name)
        return *values, knobs.plan(vlm, question, *values, *rest)

    following: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
    frames = controls["num_frames"]  # an example sets it too
    turned = [merge_ratio.input, *(other.change if other is frames else other.input for other in others), question.change]
    gr.on(turned, planned, planned_by, [plan, preset], **following)
    l1.input(moved_l1, planned_by, [plan, preset, l2], **following)
    l2.input(moved_l2, planned_by, [plan, preset, l1], **following)
    preset.input(chosen, [question, preset, *others], [merge_ratio, l1, l2, plan], **following)
    damping, restart = controls["damping"], controls["restart"]
    restart.input(knobs.follow_restart, [restart, damping], damping, **following)
    damping.input(knobs.follow_damping, [damping, restart], restart, **following)
