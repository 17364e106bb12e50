"""What a Stop button shows."""

from __future__ import annotations

import gradio as gr

from aim.ui.handlers import request_stop
from aim.ui.stop import StopSignal


def halt(stop: StopSignal):
    """Ask the run to end; the status line. A run at work says itself how it ended, and two messages could arrive in the wrong order."""
    at_work = stop.at_work
    told = request_stop(stop)
    return gr.skip() if at_work else told
