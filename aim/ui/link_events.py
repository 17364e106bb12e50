"""A link that is opened: its video, question and knobs are put on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from aim.ui import knobs, texts
from aim.ui.errors import sentence
from aim.ui.permalink import restore
from aim.ui.request import KNOBS
from aim.ui.results import Results
from aim.ui.starting import QUIET
from aim.ui.status import not_run, status

# A link is run at once. Where knobs run live, their changes have started the run already.
RUN = """() => {
    const clip = new URLSearchParams(location.search).has('example');
    if (clip && !window.aimPage?.facts.live) document.querySelector('#run').click();
}"""


def connect_link(demo: gr.Blocks, vlm, requested: dict[str, Any], controls: dict[str, Any], results: Results, examples: Path) -> None:
    """Follow the address when the page opens, and run it. `requested` are the components of a `Request` by the names of its fields."""
    names = ("video", "question", *KNOBS)

    def follow(request: gr.Request):
        try:
            values, remark = restore(dict(request.query_params), vlm, examples)
        except Exception as error:
            return *[gr.skip()] * (len(names) + 3), not_run(sentence(error))
        shown = [values.get(name, gr.skip()) for name in names]
        if not values and not remark:
            return *shown, *[gr.skip()] * 4
        setting = [(knobs.defaults(vlm) | values)[name] for name in knobs.PLANNED]
        plan = knobs.plan(vlm, values.get("question"), *setting)
        told = texts.notice(remark) if remark else ""
        return *shown, plan, knobs.name_of(vlm, *setting[:3]), told, status("Restored from the link.")

    outputs = [*(requested[name] for name in names), controls["plan"], controls["preset"], results.note, results.status]
    followed = demo.load(follow, None, outputs, **QUIET)
    followed.success(None, None, None, js=RUN, api_visibility="private", show_progress="hidden")
