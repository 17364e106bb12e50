"""The parts of the page that the browser draws. They share one script, which the screen brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from aim.views.explorer import script, stylesheet

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "page"
SCRIPTS = ("settings.js", "pins.js", "share.js", "parts.js", "screen.js")
# A part may be on the page before the script of the screen has run.
START = """const bus = (window.aimBus ??= new EventTarget());
const start = () => window.aimPage.start({name}, element, trigger, props, watch);
window.aimPage ? start() : bus.addEventListener("ready", start, {{ once: true }});"""


def screen_part(value: dict[str, Any] | None, facts: dict[str, Any]) -> gr.HTML:
    """The answer with its figures and pictures, and the script of all parts.

    Args:
        value: see `aim.views.screen`. None: there is no run yet.
        facts: what the script knows of the page, see `settings.js`.
    """
    own = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return gr.HTML(
        value,
        html_template="<div></div>",
        css_template=stylesheet(),
        js_on_load=script(f"{own}\nstartPage(element, props, watch, trigger)"),
        apply_default_css=False,
        elem_id="screen",
        facts=facts,
    )


def part(name: str, elem_id: str | None = None, value: Any = None) -> gr.HTML:
    """A part that follows the screen: a key of the table in `parts.js`."""
    return gr.HTML(
        value,
        html_template="<div></div>",
        css_template=stylesheet(),
        js_on_load=START.format(name=repr(name)),
        apply_default_css=False,
        elem_id=elem_id or name,
    )
