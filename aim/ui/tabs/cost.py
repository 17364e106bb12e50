"""The Cost tab: modelled FLOPs and measured time of every stage."""

from __future__ import annotations

import gradio as gr

from aim.ui.handlers import FinishedRun
from aim.ui.tab import Tab
from aim.views.costs import cost_table


class Cost(Tab):
    title = "Cost"
    needs_run = True

    def build(self, vlm) -> None:
        self.outputs = [gr.HTML(elem_id="cost")]

    def draw(self, run: FinishedRun) -> list[str]:
        return [cost_table(run.answer)]
