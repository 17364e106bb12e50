"""The part of the page where a visitor asks: clips, video, question, Run and Stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from aim.runtime.limits import MAX_QUESTION
from aim.ui import texts
from aim.ui.examples import Example
from aim.ui.preview import build_preview_hint
from aim.ui.strip import build_strip
from aim.video.intake.limits import SUFFIXES

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Asking:
    """Its components."""

    video: gr.Video
    upload: gr.UploadButton
    strip: gr.HTML
    question: gr.Textbox
    run: gr.Button
    stop: gr.Button


def build_asking(vlm, examples: list[Example]) -> Asking:
    """Add it to the page, filled with the first example."""
    first = examples[0] if examples else None
    with gr.Row(elem_classes=["aim-ask", *["aim-may-choose"] * vlm.choosable], equal_height=False):
        with gr.Column(elem_classes="aim-clip", min_width=120, scale=0):
            # A video that can be edited would fetch a program of 32 MB for its trim tool.
            video = gr.Video(str(first.path) if first else None, show_label=False, interactive=False, elem_id="video", buttons=[])
            build_preview_hint()
        with gr.Column(elem_classes="aim-what", min_width=300):
            with gr.Row(elem_classes="aim-clips"):
                strip = build_strip(examples)
                upload = gr.UploadButton(
                    "+ Your clip", file_types=[*SUFFIXES, *PICTURES], size="sm", elem_id="upload", scale=0, min_width=110
                )
            with gr.Row(elem_classes="aim-run"):
                question = gr.Textbox(
                    first.question if first else None,
                    label="Question",
                    show_label=False,
                    container=False,
                    placeholder=f"Ask about this clip, for example: {'what color is the square' if vlm.is_bundled else 'what happens'}?",
                    lines=1,
                    max_lines=3,
                    max_length=MAX_QUESTION,
                    elem_id="question",
                    scale=6,
                )
                run = gr.Button("Run", variant="primary", scale=0, min_width=90, elem_id="run")
                stop = gr.Button("Stop", variant="secondary", scale=0, min_width=70, elem_id="stop")
            gr.HTML(texts.model_note(vlm), elem_id="model")
    return Asking(video, upload, strip, question, run, stop)


def connect_asking(asking: Asking, examples: list[Example], num_frames: gr.Slider, most: int) -> None:
    """A picked clip brings its question and its number of frames along. A clip of one's own waits for a question of one's own."""

    def pick(event: gr.SelectData):
        place = event.index
        if not isinstance(place, int) or not 0 <= place < len(examples):
            return [gr.skip()] * 3
        chosen = examples[place]
        return str(chosen.path), chosen.question, min(chosen.frames, most) if chosen.frames else gr.skip()

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    asking.strip.select(pick, None, [asking.video, asking.question, num_frames], **quiet)
    asking.upload.upload(lambda path: (path, ""), asking.upload, [asking.video, asking.question], **quiet)
