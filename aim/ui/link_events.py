"""A link that is opened, or a page that is loaded again: its video, question and knobs are put on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from aim.ui import knobs, texts
from aim.ui.errors import sentence
from aim.ui.permalink import restore
from aim.ui.request import KNOBS
from aim.ui.results import Results
from aim.ui.starting import QUIET
from aim.ui.status import not_run, status

# The address holds no upload. The browser's tab knows where the server keeps it.
UPLOAD = """() => { try { return [sessionStorage.getItem("aim-upload") ?? ""]; } catch { return [""]; } }"""
# A link is run at once. Where knobs run live, their changes have started the run already.
RESTORED = "restored"
RUN = f"told => {{ if (told === '{RESTORED}' && window.aimPage?.pace !== 'drag') document.querySelector('#run').click(); }}"


def connect_link(
    demo: gr.Blocks, vlm, requested: dict[str, Any], controls: dict[str, Any], results: Results, examples: Path, client: gr.Textbox
) -> None:
    """Follow the address when the page opens, and run it.

    Args:
        requested: the components of a `Request` by the names of its fields.
        client: brings the path of an upload from the browser, and holds `RESTORED` afterwards where there is something to run.
    """
    names = ("video", "question", *KNOBS)

    def follow(request: gr.Request, upload: str | None):
        try:
            values, remark = restore(dict(request.query_params), vlm, examples, kept_upload(upload))
        except Exception as error:
            return *[gr.skip()] * (len(names) + 3), not_run(sentence(error)), ""
        shown = [values.get(name, gr.skip()) for name in names]
        if not values and not remark:
            return *shown, *[gr.skip()] * 4, ""
        known = knobs.defaults(vlm) | values
        plan = knobs.plan(vlm, values.get("question"), *(known[name] for name in knobs.PLANNED))
        told = texts.notice(remark) if remark else ""
        ready = RESTORED if values.get("video") else ""
        return *shown, plan, knobs.name_of(vlm, *(known[name] for name in knobs.PRESET)), told, status("Restored from the link."), ready

    outputs = [*(requested[name] for name in names), controls["plan"], controls["preset"], results.note, results.status, client]
    followed = demo.load(follow, client, outputs, js=UPLOAD, **QUIET)
    followed.success(None, client, None, js=RUN, api_visibility="private", show_progress="hidden")


def kept_upload(told: Any) -> str | None:
    """The path of an upload that a browser names, while the server still keeps it. None for anything else than that."""
    if not isinstance(told, str) or not told:
        return None
    try:
        folder, file = Path(get_upload_folder()).resolve(), Path(told).resolve()
        return str(file) if file.is_relative_to(folder) and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # no path at all
        return None
