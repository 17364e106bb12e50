"""The Cost tab: modelled FLOPs and measured time of every stage."""

from __future__ import annotations

from aim.ui.parts import part
from aim.ui.tab import Tab


class Cost(Tab):
    title = "Cost"

    def build(self, vlm) -> None:
        part("cost")
