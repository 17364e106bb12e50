"""The knobs: presets, sliders, and the plan that follows them without running the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from aim.methods import AIM
from aim.methods.presets import PRESETS, preset, preset_of
from aim.methods.published import nearest
from aim.ui import texts
from aim.ui.examples import Example
from aim.ui.request import MAX_QUESTION
from aim.views.planned import hint, plan_panel

PLANNED = ("merge_ratio", "l1", "l2", "num_frames", "merge_window")
TYPICAL_TEXT_TOKENS = 20
QUESTION_DAMPING = 0.15


@dataclass(frozen=True)
class Range:
    """A number a knob may take: from `low` to `high` in steps of `step`, at first `value`."""

    low: float
    high: float
    step: float
    value: float


def ranges(vlm) -> dict[str, Range]:
    """The numeric knobs of this model, by their names in `Request`."""
    layers, default = vlm.num_layers, AIM().for_depth(vlm.num_layers)
    return {
        "merge_ratio": Range(0.005, 1, 0.005, default.merge_ratio),
        "l1": Range(0, layers, 1, default.l1),
        "l2": Range(1, layers + 1, 1, default.l2),
        "num_frames": Range(1, vlm.max_frames, 1, min(8 if vlm.is_bundled else 16, vlm.max_frames)),
        "temperature": Range(0.01, 1, 0.01, default.temperature),
        "iterations": Range(1, 20, 1, default.iterations),
        "damping": Range(0, 0.95, 0.05, default.damping),
        "max_new_tokens": Range(1, 512, 1, 8 if vlm.is_bundled else 128),
    }


# The knobs that are picked, not slid: name → (what is shown, value); the first is the paper's.
CHOICES: dict[str, list[tuple[str, Any]]] = {
    "restart": [("anywhere", "uniform"), ("on the question", "question")],
    "merge_window": [("each frame alone", 1), ("2 frames", 2), ("4 frames", 4)],
    "positions": [("compact", "compact"), ("original", "original")],
}


def defaults(vlm) -> dict[str, Any]:
    """The knobs as the page first shows them, by their names in `Request`."""
    picked = {name: choices[0][1] for name, choices in CHOICES.items()}
    return {**{name: limits.value for name, limits in ranges(vlm).items()}, **picked, "score_every_layer": vlm.is_bundled, "compare": False}


def build_knobs(vlm, example: Example | None) -> dict[str, Any]:
    """The column of knobs; components by their names in `Request`, and `preset` and `plan`. They start as the example needs them."""
    known, first = ranges(vlm), defaults(vlm)
    if example and example.frames:
        first["num_frames"] = min(example.frames, vlm.max_frames)

    def slider(name: str, label: str, elem_id: str, info: str | None = None, **options) -> gr.Slider:
        limits = known[name]
        precision = 0 if limits.step == 1 else None
        return gr.Slider(
            limits.low, limits.high, first[name], step=limits.step, precision=precision, label=label, elem_id=elem_id, info=info, **options
        )

    def radio(name: str, label: str, elem_id: str, info: str) -> gr.Radio:
        return gr.Radio(CHOICES[name], value=CHOICES[name][0][1], label=label, elem_id=elem_id, info=info)

    with gr.Column(elem_classes="aim-knobs"):
        parts: dict[str, Any] = {"preset": gr.Radio(list(PRESETS), value="Paper", label="Preset", elem_id="preset")}
        parts["plan"] = gr.HTML(plan(vlm, example and example.question, *(first[name] for name in PLANNED)), elem_id="plan")
        parts["merge_ratio"] = slider("merge_ratio", "Merge ratio: share of tokens kept", "merge-ratio")
        with gr.Row():
            parts["l1"] = slider("l1", "l1: first layer that drops", "l1", min_width=140)
            parts["l2"] = slider("l2", "l2: none left from l2 - 1", "l2", min_width=140)
        parts["num_frames"] = slider("num_frames", "Frames taken from the video", "frames")
        gr.HTML(texts.KNOBS)
        with gr.Accordion("More", open=False, elem_id="more"):
            parts["temperature"] = slider(
                "temperature", "PageRank temperature", "temperature", "Lower follows only the strongest attention."
            )
            parts["iterations"] = slider("iterations", "PageRank iterations", "iterations")
            parts["damping"] = slider(
                "damping", "Damping", "damping", "Chance that the walk starts again at each step; the paper has none."
            )
            parts["restart"] = radio(
                "restart", "Where the walk starts again", "restart", "On the question favours what the question looks at."
            )
            parts["merge_window"] = radio(
                "merge_window", "Merge within", "merge-window", "Windows of frames also merge what stays the same over time."
            )
            parts["positions"] = radio(
                "positions", "Positions of merged tokens", "positions", "Compact numbers them 0, 1, 2… (the paper's); original leaves gaps."
            )
            parts["max_new_tokens"] = slider("max_new_tokens", "Longest answer, in tokens", "max-new-tokens")
            parts["score_every_layer"] = gr.Checkbox(
                first["score_every_layer"],
                label="Score every layer",
                info="Also layers that drop nothing, to look at. Timed apart.",
                elem_id="score-all",
            )
            parts["guard"] = gr.Checkbox(
                guarded(vlm),
                label="Check whether the reduction changed the answer",
                info="One more prefill with a milder setting, after the answer is there.",
                elem_id="guard",
            )
    return parts


def guarded(vlm) -> bool:
    """Whether answers are checked unless the visitor says otherwise: where a second prefill is cheap, so not with a real model on a CPU."""
    return vlm.is_bundled or vlm.device.type != "cpu"


def plan(vlm, question: str | None, merge_ratio: float, l1: int, l2: int, num_frames: int, merge_window: int = 1) -> str:
    """The planned cost of these knobs, as HTML, without running the model. Knobs in between two valid settings give a hint instead."""
    try:
        method = AIM(merge_ratio=float(merge_ratio), l1=int(l1), l2=int(l2), merge_window=int(merge_window))
        planned = vlm.plan(int(num_frames), text_tokens(vlm, question, int(num_frames)), method)
    except ValueError as error:
        return hint(str(error))
    published = nearest(vlm.name, method.merge_ratio, method.l1, method.l2, int(num_frames))
    return plan_panel(planned, int(num_frames) * vlm.tokens_per_frame, published)


def text_tokens(vlm, question: str | None, num_frames: int = 1) -> int:
    """Text tokens of the prompt; a typical number while there is no question yet."""
    return vlm.text_tokens(question.strip()[:MAX_QUESTION], num_frames) if (question or "").strip() else TYPICAL_TEXT_TOKENS


def name_of(vlm, merge_ratio: float, l1: int, l2: int) -> str | None:
    """The preset these knobs are."""
    return preset_of(float(merge_ratio), int(l1), int(l2), vlm.num_layers)


def follow_preset(vlm, name: str) -> tuple[float, int, int]:
    """Merge ratio, l1 and l2 of a preset for this model."""
    return preset(name, vlm.num_layers)


def follow_l1(l1: int, l2: int) -> int:
    """Where l2 belongs after l1 was moved: l1 < l2."""
    return max(int(l2), int(l1) + 1)


def follow_l2(l1: int, l2: int) -> int:
    """Where l1 belongs after l2 was moved: l1 < l2."""
    return min(int(l1), int(l2) - 1)


def follow_restart(restart: str, damping: float) -> float:
    """A walk that starts again on the question needs a chance to do so."""
    return damping or QUESTION_DAMPING if restart == "question" else damping


def follow_damping(damping: float, restart: str) -> str:
    """Without damping the walk never starts again."""
    return restart if damping else "uniform"
