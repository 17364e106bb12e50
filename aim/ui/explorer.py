"""The Frames and Time tabs as Gradio components. A value is the whole run; scrubbing happens in the browser, without the server."""

from __future__ import annotations

from typing import Protocol

import gradio as gr
import numpy as np

from aim.kernels.trace import Trace
from aim.views.explorer import payload, script, stylesheet

TIME_PICTURE_PIXELS = 400_000


class Run(Protocol):
    """A finished run: frames uint8 [N, H, W, 3], timestamps [N] in seconds, and its trace."""

    frames: np.ndarray
    timestamps: np.ndarray
    trace: Trace


def build_frames() -> gr.HTML:
    """The frame explorer, empty. Its values come from `explorer_value`."""
    return _component("startFrames", "explorer")


def build_time() -> gr.HTML:
    """The map of frames × layers, empty. Its values come from `time_value`."""
    return _component("startTime", "timeline")


def explorer_value(run: Run | None) -> dict | None:
    """What `build_frames`' component shows after a run; None empties it."""
    return None if run is None else payload(run.frames, run.timestamps, run.trace)


def time_value(run: Run | None) -> dict | None:
    """What `build_time`'s component shows after a run; None empties it."""
    return None if run is None else payload(run.frames, run.timestamps, run.trace, TIME_PICTURE_PIXELS, scores=False)


def _component(start: str, elem_id: str) -> gr.HTML:
    # The template never changes, so Gradio leaves the script's own nodes alone when a new value comes; `watch` tells the script.
    return gr.HTML(
        html_template="<div></div>",
        css_template=stylesheet(),
        js_on_load=script(f"{start}(element, props, watch)"),
        apply_default_css=False,
        elem_id=elem_id,
    )
