"""The hint in the place of the video where a browser cannot play a clip that the app can read, such as HEVC, AVI or MPG."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

SCRIPT = Path(__file__).resolve().parents[2] / "assets" / "preview.js"
HINT = """<p class="aim-help" role="status" hidden>No preview here. Run still works if the app can read the file.</p>
<canvas class="aim-still" aria-label="The first frame of the clip" role="img" hidden></canvas>"""


def build_preview_hint() -> gr.HTML:
    """Add the hint to the page. It stays hidden until the preview cannot be played, and the next video hides it again."""
    return gr.HTML(HINT, js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="preview-hint")
