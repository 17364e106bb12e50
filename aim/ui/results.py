"""The part of the page where the answer is: status, answer, note and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from aim.ui.handlers import READY, status


@dataclass(frozen=True)
class Results:
    """Its components."""

    status: gr.HTML
    answer: gr.Textbox
    full_answer: gr.Textbox
    note: gr.HTML
    figures: gr.HTML


def build_results() -> Results:
    """Add it to the page. The full model's answer is hidden until somebody asks for it."""
    with gr.Column(elem_classes="aim-result"):
        state = gr.HTML(status(READY), elem_id="status")
        with gr.Row(elem_classes="aim-answers"):
            text: dict[str, Any] = {"interactive": False, "lines": 1, "max_lines": 14, "buttons": ["copy"], "min_width": 160}
            answer = gr.Textbox(label="Answer", elem_id="answer", **text)
            full_answer = gr.Textbox(label="The full model", visible=False, elem_id="full-answer", **text)
        note = gr.HTML(elem_id="note")
        figures = gr.HTML(elem_id="figures")
    return Results(state, answer, full_answer, note, figures)
