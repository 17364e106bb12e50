"""The strip of example clips: a picture of each, and its question."""

from __future__ import annotations

import io
from base64 import b64encode
from functools import lru_cache
from html import escape
from pathlib import Path

import gradio as gr
from PIL import Image

from aim.ui.examples import Example
from aim.video.clip import read_video

HEIGHT = 54  # pixels of a poster
FRAMES = 3  # the poster is the one of these with the most contrast, so that a clip that starts empty shows what comes
PICK = """element.addEventListener('click', event => {
    const chosen = event.target.closest('button[data-place]');
    if (chosen) trigger('select', { index: Number(chosen.dataset.place), value: null });
});"""


def build_strip(examples: list[Example]) -> gr.HTML:
    """Add it to the page. Its event `select` says which clip was picked."""
    buttons = "".join(
        f'<button type="button" data-place="{place}" title="{escape(example.question, quote=True)}">'
        f'<img src="{poster(example.path)}" alt="" height="{HEIGHT}" width="{HEIGHT}"><span>{escape(example.question)}</span></button>'
        for place, example in enumerate(examples)
    )
    strip = f'<div class="aim-strip" role="group" aria-label="Example clips">{buttons}</div>'
    return gr.HTML(strip, js_on_load=PICK, elem_id="strip", visible=bool(examples))


@lru_cache(maxsize=64)
def poster(path: Path) -> str:
    """A frame of a clip as the URL of a small JPEG, square. "" where the clip cannot be read."""
    try:
        frames = read_video(path, num_frames=FRAMES).frames
    except ValueError:
        return ""
    picture = Image.fromarray(max(frames, key=lambda frame: frame.std()))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    written = io.BytesIO()
    picture.crop((left, top, left + side, top + side)).resize((2 * HEIGHT, 2 * HEIGHT)).save(written, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{b64encode(written.getvalue()).decode('ascii')}"
