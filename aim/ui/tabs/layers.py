"""The Layers tab: how many tokens each layer ran on, and how importance was spread over them."""

from __future__ import annotations

import gradio as gr

from aim.ui.parts import part
from aim.ui.tab import Tab

READING = """<p class="aim-reading"><b>Bars:</b> the visual tokens that each layer ran on, and the text tokens below them. The dotted line
is the full model, in which every layer sees every token. Dropping starts at layer l1. No visual token is left from layer l2 − 1 on.
After that, the text tokens carry what was seen.</p>
<p class="aim-reading"><b>Boxes:</b> how important the visual tokens of a layer are
(<abbr title="PageRank: a token is important when important tokens attend to it.">PageRank</abbr>). Half of the tokens lie in the box, and
the line is the median. The least important tokens are dropped first.</p>
<p class="aim-reading">Point at a layer, or tap it, for its figures.</p>"""


class Layers(Tab):
    title = "Layers"

    def build(self, vlm) -> None:
        with gr.Row(elem_classes="aim-layers", equal_height=False):
            with gr.Column(scale=3, min_width=320):
                part("layers")
            with gr.Column(scale=2, min_width=320):
                gr.HTML(READING)
