"""The knobs: presets, sliders, and the plan that follows them without running the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from aim.evaluation import recommended
from aim.methods import AIM
from aim.methods.presets import CIRCULATING, PRESETS, preset
from aim.methods.published import nearest
from aim.runtime.limits import MAX_NEW_TOKENS, MAX_QUESTION, TYPICAL_TEXT_TOKENS
from aim.ui import texts
from aim.ui.errors import sentence
from aim.ui.examples import Example
from aim.ui.parts import part
from aim.ui.request import ADVANCED, FIRST, KNOBS, METHOD_KNOBS, TOWER_KNOBS, TOWER_OFF, Request, whole_number
from aim.ui.seen import UNSEEN, Seen
from aim.views.planned import hint, plan_panel

# Everything that is declared on a dataclass: the method's knobs, and the vision tower's settings.
DECLARED = METHOD_KNOBS | TOWER_KNOBS
# The values that the plan depends on, in the order `plan` takes them.
PLANNED = tuple(name for name in KNOBS if name == "num_frames" or (name in DECLARED and DECLARED[name].planned))
# The knobs that a preset sets, in its order.
PRESET = ("merge_ratio", "l1", "l2", "positions")
QUESTION_DAMPING = 0.15
ONLY = "This model takes no other value."
# The sliders that are no knobs of the method.
LABELS = {"num_frames": "Frames taken from the video", "max_new_tokens": "Longest answer, in tokens"}


@dataclass(frozen=True)
class Range:
    """A number a knob may take: from `low` to `high` in steps of `step`, at first `value`."""

    low: float
    high: float
    step: float
    value: float


def ranges(vlm) -> dict[str, Range]:
    """The ranges of the page's sliders for this model, by their names in `KNOBS`."""
    default = AIM().for_depth(vlm.num_layers, vlm.ramp)
    first = default.params() | TOWER_OFF
    slid = {name: knob for name, knob in DECLARED.items() if not knob.choices}
    return {
        **{name: Range(*knob.slider(vlm.num_layers), first[name]) for name, knob in slid.items()},
        "num_frames": Range(1, vlm.max_frames, 1, min(8 if vlm.is_bundled else 16, vlm.max_frames)),
        "max_new_tokens": Range(1, MAX_NEW_TOKENS, 1, 8 if vlm.is_bundled else 128),
    }


# The knobs that are picked from a list: name → (what is shown, value).
CHOICES: dict[str, list[tuple[str, Any]]] = {name: list(knob.choices) for name, knob in DECLARED.items() if knob.choices}


def defaults(vlm) -> dict[str, Any]:
    """Everything in `KNOBS` as the page first shows it."""
    picked = {name: DECLARED[name].default for name in CHOICES}
    return {**{name: limits.value for name, limits in ranges(vlm).items()}, **picked, "score_every_layer": vlm.is_bundled, "compare": False}


def build_knobs(vlm, example: Example | None, opening: dict[str, Any] | None = None) -> dict[str, Any]:
    """Add the column of knobs, set as the example needs them.

    Returns:
        The components by their names in `KNOBS`, and `preset`, `circulating`, `plan` and `guard`.
    """
    known, first = ranges(vlm), defaults(vlm)
    if example and example.frames:
        first["num_frames"] = min(example.frames, vlm.max_frames)

    def slider(name: str, **options) -> gr.Slider:
        limits = known[name]
        if limits.low == limits.high:  # a context that holds one frame; a slider must have two ends
            limits, options = replace(limits, high=limits.low + limits.step), options | {"interactive": False, "info": ONLY}
        precision = 0 if limits.step == 1 else None
        return gr.Slider(limits.low, limits.high, first[name], step=limits.step, precision=precision, **options)

    def control(name: str, info: str | None = None, **options) -> gr.Slider | gr.Radio:
        options |= {"label": DECLARED[name].label, "info": info, "elem_id": name.replace("_", "-")}
        return gr.Radio(CHOICES[name], value=first[name], **options) if name in CHOICES else slider(name, **options)

    with gr.Column(scale=4, min_width=320, elem_classes="aim-knobs"):
        parts: dict[str, Any] = {}
        part("handle")
        with gr.Group(elem_classes="aim-first"):
            ratio, *layers = (name for name in FIRST if name in METHOD_KNOBS)
            parts[ratio] = control(ratio)
        with gr.Column(elem_classes="aim-rest"):
            named, found = list(presets_of(vlm)), recommended.recommendation() if vlm.is_bundled else None
            with gr.Column(elem_classes="aim-presets"):
                parts["preset"] = gr.Radio(named, value="Paper", label="Preset", show_label=False, container=False, elem_id="preset")
                if found:
                    gr.HTML(f'<p class="aim-help">{escape(recommended.why(found))}</p>', elem_id="recommended")
            known_plan = opening["plan"] if opening and vlm.is_bundled else None
            first_plan = known_plan or plan(vlm, example.question if example else None, *(first[name] for name in PLANNED))
            parts["plan"] = gr.HTML(first_plan, elem_id="plan")
            with gr.Row(elem_classes="aim-ramp"):
                parts |= {name: control(name, min_width=120) for name in layers}
            parts["num_frames"] = slider("num_frames", label=LABELS["num_frames"], elem_id="frames")
            part("pins")
            with gr.Accordion("Advanced", open=False, elem_id="more"):
                gr.HTML(texts.KNOBS)
                parts["circulating"] = gr.Radio(
                    list(CIRCULATING),
                    label="Settings that circulate (merge ratio / l1 / l2 of 28 layers)",
                    info="From a table in summaries of the paper. Its FLOPs do not follow from the paper's own account.",
                    elem_id="circulating",
                )
                gr.HTML(tower_help(vlm), elem_id="tower")
                parts |= {name: control(name, knob.help, visible=offered(vlm, name)) for name, knob in TOWER_KNOBS.items()}
                parts |= {name: control(name, METHOD_KNOBS[name].help) for name in ADVANCED}
                parts["max_new_tokens"] = slider("max_new_tokens", label=LABELS["max_new_tokens"], elem_id="max-new-tokens")
                parts["score_every_layer"] = gr.Checkbox(
                    first["score_every_layer"],
                    label="Score every layer",
                    info="Also layers that drop nothing, for display only. Timed apart.",
                    elem_id="score-all",
                )
                parts["compare"] = gr.Checkbox(
                    first["compare"],
                    label="Also run the full model",
                    info="One more prefill with every token, to compare with.",
                    visible=not vlm.live,
                    elem_id="compare",
                )
                parts["guard"] = gr.Checkbox(
                    guarded(vlm),
                    label="Check whether the reduction changed the answer",
                    info="One more prefill with a milder setting, after the answer is there.",
                    visible=not vlm.live,
                    elem_id="guard",
                )
    return parts


def offered(vlm, name: str) -> bool:
    """Whether the vision tower of this model can do what a setting in `TOWER_KNOBS` says."""
    return name.removeprefix("tower_") not in vlm.tower_limits


def tower_help(vlm) -> str:
    """What the vision tower's settings are for, as HTML, and why some are not there."""
    reasons = "".join(f" {reason}." for reason in dict.fromkeys(vlm.tower_limits.values()))
    return f'<p class="aim-help">{texts.TOWER}{escape(reasons)}</p>'


def guarded(vlm) -> bool:
    """Whether answers are checked by default. A second prefill has to be cheap for that, which it is not with a real model on a CPU."""
    return vlm.is_bundled or vlm.device.type != "cpu"


def planned_request(question: str | None, values: tuple) -> Request:
    """A request without a video from values in the order of `PLANNED`."""
    return Request.of(video=None, question=question, **dict(zip(PLANNED, values, strict=False)))


def plan(vlm, question: str | None, *values, seen: Seen = UNSEEN) -> str:
    """The planned cost of these knobs, as HTML, without running the model. Knobs that cannot be planned give a hint instead.

    Args:
        values: in the order of `PLANNED`. Those left out at the end are at their defaults.
        seen: what is known of the video.
    """
    return plan_of(vlm, planned_request(question, values), seen)


def plan_of(vlm, request: Request, seen: Seen = UNSEEN, scores: Mapping[int, np.ndarray] | None = None) -> str:
    """As `plan`, for a request. `scores` are those of a run of it, as in `aim.views.curve.curve_svg`."""
    try:
        asked, method = whole_number("The number of frames", request.num_frames), request.method()
        frames, grid = seen.frames(asked), seen.grid(vlm, asked)
        planned = vlm.plan(frames, text_tokens(vlm, request.question, frames), method, grid, request.tower())
    except Exception as error:
        return hint(sentence(error))
    ramp = method.ramp_layers(vlm.num_layers, vlm.ramp)
    published = nearest(vlm.name, method.merge_ratio, *ramp, frames)
    return plan_panel(planned, grid.tokens, ramp, published, seen.remark(vlm, asked), scores, request.tower())


def text_tokens(vlm, question: str | None, num_frames: int = 1) -> int:
    """Text tokens of the prompt. While there is no question yet, it is a typical number."""
    return vlm.text_tokens(question.strip()[:MAX_QUESTION], num_frames) if (question or "").strip() else TYPICAL_TEXT_TOKENS


def presets_of(vlm) -> dict[str, tuple[float, int, int, str]]:
    """The presets for a model, by name. All but the one that is recommended for the bundled model have the paper's positions."""
    named = {name: (*preset(name, vlm.num_layers, vlm.ramp), AIM().positions) for name in PRESETS}
    found = recommended.recommendation() if vlm.is_bundled else None
    return named if found is None else {recommended.NAME: tuple(found[name] for name in PRESET), **named}


def name_of(vlm, merge_ratio: float, l1: int, l2: int, positions: str) -> str | None:
    """The name of the preset with these values. None where there is none."""
    values = (float(merge_ratio), int(l1), int(l2), positions)
    return next((name for name, known in presets_of(vlm).items() if known == values), None)
