"""The Layers tab: how many tokens each layer ran on, and how importance was spread over them."""

from __future__ import annotations

import gradio as gr

from aim.ui.parts import part
from aim.ui.tab import Tab

READING = """<p class="aim-reading">The bars show how many tokens each layer ran on. Below them, boxes show how importance
(<abbr title="PageRank: a token is important when important tokens attend to it.">PageRank</abbr>) is spread over the visual tokens of a
layer: half of the tokens lie in the box, and the line is the median. The least important tokens are dropped first. Point at a layer, or
tap it, for its figures.</p>"""


class Layers(Tab):
    title = "Layers"

    def build(self, vlm) -> None:
        part("layers")
        gr.HTML(READING)
