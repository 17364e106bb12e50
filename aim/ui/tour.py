"""A tour in three steps: what merging does, what dropping does, and where the answer breaks. Each sets the knobs and the view."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from aim.methods.presets import preset

BREAKING = 0.06  # of the tokens
# (name, preset, merge ratio in its place, view, what is told)
STEPS = (
    (
        "1 Merge",
        "Merge only",
        None,
        "merged",
        "Merging: patches that look alike become one token before the language model. A quarter is left.",
    ),
    (
        "2 Drop",
        "Paper",
        None,
        "survival",
        "Dropping: inside the language model, each layer keeps fewer of the tokens. The least important ones go first. "
        "Once all are gone, the words of the question carry what was seen.",
    ),
    (
        "3 Break it",
        "Paper",
        BREAKING,
        "merged",
        "Breaking: with so few tokens the model no longer sees what it needs. Drag the first slider to find where.",
    ),
)


def build_tour() -> list[gr.Button]:
    """Add its buttons to the page."""
    with gr.Row(elem_classes="aim-tour"):
        gr.HTML('<span class="aim-help">Tour:</span>')
        return [gr.Button(name, size="sm", scale=0, min_width=80, elem_id=f"tour-{place}") for place, (name, *_) in enumerate(STEPS, 1)]


def connect_tour(vlm, buttons: list[gr.Button], controls: dict[str, Any]) -> None:
    """Each step sets merge ratio, l1 and l2 in the browser. The run follows as it follows every knob."""
    turned = [controls[name] for name in ("merge_ratio", "l1", "l2")]
    for button, (_, name, ratio, view, told) in zip(buttons, STEPS, strict=True):
        merge_ratio, l1, l2 = preset(name, vlm.num_layers, vlm.ramp)
        setting = json.dumps([ratio or merge_ratio, l1, l2])
        step = f"() => {{ window.aimPage?.tour({json.dumps(view)}, {json.dumps(told)}); return {setting}; }}"
        button.click(None, None, turned, js=step, api_visibility="private", show_progress="hidden")
