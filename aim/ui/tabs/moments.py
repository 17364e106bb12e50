"""The Moments tab: from which moments of the clip the tokens of each layer come."""

from __future__ import annotations

from aim.ui.explorer import explorer_part
from aim.ui.tab import Tab
from aim.views.explorer import payload
from aim.views.shown_run import ShownRun

PICTURE_PIXELS = 400_000


class Moments(Tab):
    title = "Moments"
    needs_run = True

    def build(self, vlm) -> None:
        self.outputs = [explorer_part("startTime", "timeline")]

    def draw(self, run: ShownRun) -> list[dict]:
        return [payload(run.frames, run.timestamps, run.trace, PICTURE_PIXELS)]
