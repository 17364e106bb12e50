"""The part of the page where a visitor asks: video, question, Run and Stop, examples."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from aim.runtime.limits import MAX_QUESTION
from aim.ui import texts
from aim.ui.examples import Example
from aim.ui.preview import build_preview_hint
from aim.video.intake.limits import SUFFIXES


@dataclass(frozen=True)
class Asking:
    """Its components. `build_gallery` fills the gallery once there are knobs for it to set."""

    video: gr.Video
    upload: gr.UploadButton
    question: gr.Textbox
    run: gr.Button
    stop: gr.Button
    compare: gr.Checkbox
    gallery: gr.Column


def build_asking(vlm, first: Example | None) -> Asking:
    """Add it to the page, filled with an example, so that a visitor need only press Run."""
    with gr.Column(elem_classes="aim-ask"):
        video = gr.Video(str(first.path) if first else None, label="Video", sources=["upload"], height=240, elem_id="video")
        build_preview_hint()
        question = gr.Textbox(
            first.question if first else None,
            label="Question",
            placeholder="What happens in the video?",
            lines=1,
            max_lines=4,
            max_length=MAX_QUESTION,
            elem_id="question",
        )
        with gr.Row(elem_classes="aim-run"):
            run = gr.Button("Run", variant="primary", scale=3, min_width=120, elem_id="run")
            stop = gr.Button("Stop", variant="secondary", scale=1, min_width=80, elem_id="stop")
        compare = gr.Checkbox(False, label="Also run the full model, side by side", container=False, elem_id="compare")
    with gr.Column(elem_classes="aim-examples"):
        upload = gr.UploadButton("Use your own video…", file_types=list(SUFFIXES), size="sm", elem_id="upload")
        gr.HTML(texts.limits())
        gallery = gr.Column()
        gr.HTML(texts.model_note(vlm))
    return Asking(video, upload, question, run, stop, compare, gallery)


def build_gallery(asking: Asking, examples: list[Example], num_frames: gr.Slider) -> None:
    """Add thumbnails that set the video, the question and the number of frames."""
    if not examples:
        return
    with asking.gallery:
        gr.Examples(
            [[str(example.path), example.question, example.frames or num_frames.value] for example in examples],
            inputs=[asking.video, asking.question, num_frames],
            visible_columns=[0, 1],
            cache_examples=False,
            examples_per_page=12,
            label="Or pick an example",
            elem_id="examples",
            api_visibility="private",
        )
