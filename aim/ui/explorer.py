"""The explorer's two parts as Gradio components. A value is the whole run, so scrubbing happens in the browser, without the server."""

from __future__ import annotations

import gradio as gr

from aim.views.explorer import script, stylesheet


def explorer_part(start: str, elem_id: str) -> gr.HTML:
    """A part of the explorer, empty. Its values come from `aim.views.explorer.payload`.

    Args:
        start: the function of the explorer's script that draws this part.
    """
    # The template never changes, so Gradio leaves the script's own nodes alone when a new value comes; `watch` tells the script.
    return gr.HTML(
        html_template="<div></div>",
        css_template=stylesheet(),
        js_on_load=script(f"{start}(element, props, watch)"),
        apply_default_css=False,
        elem_id=elem_id,
    )
