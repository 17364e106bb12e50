"""The lower part of the Tune tab: use the savings of the present knobs for more frames."""

from __future__ import annotations

import gradio as gr

from aim.methods import AIM
from aim.ui import knobs
from aim.ui.request import Request
from aim.ui.seen import Seen
from aim.ui.spending import saving, spending
from aim.ui.starting import QUIET, connect_start
from aim.ui.stop import StopSignal
from aim.ui.tab import Page
from aim.ui.turn import turn

NOTHING_SAVED = "Compare"  # the label of a button that cannot be pressed


class SpendingPart:
    """Its components, added to the block that is open."""

    def __init__(self, vlm):
        gr.HTML('<h2 class="aim-section">Use the savings for more frames</h2>')
        first = knobs.defaults(vlm)
        text, label = saving(vlm, None, *(first[name] for name in knobs.PLANNED))
        self.saving = gr.HTML(text, elem_id="saving")
        with gr.Row(elem_classes="aim-run"):
            self.start = gr.Button(label or NOTHING_SAVED, interactive=bool(label), scale=3, min_width=120, elem_id="spend")
            self.stop = gr.Button("Stop", scale=1, min_width=80, elem_id="spend-stop")
        self.status = gr.HTML(elem_id="spend-status")
        self.answers = gr.HTML(elem_id="spent")

    def connect(self, page: Page) -> None:
        """What the plan pays for, and both runs."""
        vlm, controls = page.vlm, page.controls

        def tell(seen: Seen, question: str | None, *values):
            text, label = saving(vlm, question, *values, seen=seen)
            return text, gr.Button(label or NOTHING_SAVED, interactive=bool(label))

        def spend(stop: StopSignal, *values):
            request = Request.of(*values)
            with turn(vlm, AIM.name, request, stop) as note:
                yield from spending(vlm, request, stop, note)

        planned_by = [page.seen, page.asking.question, *(controls[name] for name in knobs.PLANNED)]
        controls["plan"].change(tell, planned_by, [self.saving, self.start], trigger_mode="always_last", **QUIET)
        connect_start(self.start, self.stop, self.status, spend, page.inputs, [self.status, self.answers])
