"""The part of the page where the answer is: status line, screen, and what a check said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from aim.ui.handlers import READY
from aim.ui.parts import screen_part
from aim.ui.status import status

LIVE = "Drag a slider. The model answers at once."


@dataclass(frozen=True)
class Results:
    """Its components."""

    status: gr.HTML
    screen: gr.HTML
    note: gr.HTML


def build_status(vlm) -> gr.HTML:
    """Add the status line to the page."""
    return gr.HTML(status(LIVE if vlm.live else READY), elem_id="status")


def build_results(vlm, state: gr.HTML, opening: dict[str, Any] | None, facts: dict[str, Any]) -> Results:
    """Add the rest. `opening` and `facts` are those of `screen_part`. Where answers are checked after a run, the note has its room."""
    with gr.Column(elem_classes="aim-result"):
        note = gr.HTML(elem_id="note", elem_classes=[] if vlm.live else ["aim-late"])
        screen = screen_part(opening, facts)
    return Results(state, screen, note)
