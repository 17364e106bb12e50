"""The Frames tab: merged patches, surviving tokens and their importance, on the frames themselves."""

from __future__ import annotations

import gradio as gr

from aim.ui import texts
from aim.ui.explorer import explorer_part
from aim.ui.tab import Tab
from aim.views.explorer import payload
from aim.views.shown_run import ShownRun


class Frames(Tab):
    title = "Frames"

    def build(self, vlm) -> None:
        self.placeholder = gr.HTML(texts.PLACEHOLDER)
        self.outputs = [explorer_part("startFrames", "explorer")]

    def draw(self, run: ShownRun) -> list[dict]:
        return [payload(run.frames, run.timestamps, run.trace)]
