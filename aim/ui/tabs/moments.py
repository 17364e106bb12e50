"""The Moments tab: from which moments of the clip the tokens of each layer come."""

from __future__ import annotations

from aim.ui.parts import part
from aim.ui.tab import Tab


class Moments(Tab):
    title = "Moments"

    def build(self, vlm) -> None:
        part("moments", "timeline")
