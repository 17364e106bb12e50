"""The Layers tab: how many tokens each layer ran on, and how importance was spread over them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from aim.ui.handlers import FinishedRun
from aim.ui.tab import Tab
from aim.views.charts import layer_chart

READING = """<p class="aim-reading">The bars show how many tokens each layer ran on: visual tokens in blue, text tokens in orange. The
dotted line shows the plan.<br>The lower chart shows how importance (PageRank) is spread over the visual tokens of a layer. The least
important ones are dropped first. Point at the chart for its numbers.</p>"""


class Layers(Tab):
    title = "Layers"
    needs_run = True

    def build(self, vlm) -> None:
        self.outputs = [gr.Plot(show_label=False, container=False, elem_id="chart")]
        gr.HTML(READING)

    def draw(self, run: FinishedRun) -> list[Any]:
        return [layer_chart(run.trace, run.plan.tokens_per_layer)]
