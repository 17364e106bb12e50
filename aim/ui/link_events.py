"""A link that is opened: its video, question and knobs are put on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from aim.ui import handlers, knobs
from aim.ui.errors import sentence
from aim.ui.permalink import restore
from aim.ui.request import KNOBS
from aim.ui.starting import QUIET


def connect_link(demo: gr.Blocks, vlm, requested: dict[str, Any], controls: dict[str, Any], status: gr.HTML, examples: Path) -> None:
    """Follow the address when the page opens. `requested` are the components of a `Request` by the names of its fields."""
    names = ("video", "question", *KNOBS)

    def follow(request: gr.Request):
        try:
            values, remark = restore(dict(request.query_params), vlm, examples)
        except Exception as error:
            return *[gr.skip()] * (len(names) + 2), handlers.status(sentence(error))
        shown = [values.get(name, gr.skip()) for name in names]
        if not values and not remark:
            return *shown, gr.skip(), gr.skip(), gr.skip()
        setting = [(knobs.defaults(vlm) | values)[name] for name in knobs.PLANNED]
        plan = knobs.plan(vlm, values.get("question"), *setting)
        return *shown, plan, knobs.name_of(vlm, *setting[:3]), handlers.status(f"Restored from the link. {remark}".strip())

    demo.load(follow, None, [*(requested[name] for name in names), controls["plan"], controls["preset"], status], **QUIET)
