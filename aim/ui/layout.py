"""The page: components, where they stand, and which handler each event calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from aim.methods import AIM
from aim.ui import handlers, texts
from aim.ui.errors import message, politely
from aim.ui.handlers import Pictures, Request, Screen, StopSignal
from aim.views.frames import VIEWS

ASSETS = Path(__file__).resolve().parents[2] / "assets"
EXAMPLES = ASSETS / "examples"
SESSION_SECONDS = 3600


@dataclass(frozen=True)
class Page:
    """The components that events read and write."""

    video: gr.Video
    question: gr.Textbox
    run: gr.Button
    stop: gr.Button
    merge_ratio: gr.Slider
    l1: gr.Slider
    l2: gr.Slider
    num_frames: gr.Slider
    positions: gr.Radio
    max_new_tokens: gr.Slider
    score_every_layer: gr.Checkbox
    plan: gr.HTML
    status: gr.HTML
    answer: gr.Textbox
    figures: gr.HTML
    empty: gr.HTML
    pictures: gr.Column
    view: gr.Radio
    layer: gr.Slider
    legend: gr.HTML
    gallery: gr.Gallery
    chart: gr.Plot
    download: gr.DownloadButton

    def request(self) -> list:
        """The inputs of a run, in the order of `Request`'s fields."""
        return [getattr(self, name) for name in Request.__dataclass_fields__]


def launch_options(examples: Path = EXAMPLES) -> dict[str, Any]:
    """What `Blocks.launch` needs for this page: looks, limits, and which files it may serve."""
    return {
        "theme": theme(),
        "css_paths": ASSETS / "style.css",
        "allowed_paths": [str(examples.resolve())],
        "max_file_size": "100mb",
        "footer_links": ["gradio", "settings"],
        "run_history": False,
        "state_session_capacity": 50,
    }


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the visitor's own system font (nothing is fetched) and texts dark enough to read (WCAG AA)."""
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
    monospace = ["ui-monospace", "Consolas", "Liberation Mono", "monospace"]
    return gr.themes.Default(primary_hue="indigo", secondary_hue="blue", neutral_hue="slate", font=system, font_mono=monospace).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
    )


def build_demo(vlm, examples: Path = EXAMPLES) -> gr.Blocks:
    """The app around a loaded model (`aim.load`). `examples` is a folder with an `examples.json`; without one there are none."""
    with gr.Blocks(
        title="AIM Explorer", fill_width=True, analytics_enabled=False, delete_cache=(SESSION_SECONDS, 2 * SESSION_SECONDS)
    ) as demo:
        gr.HTML(texts.HEADER)
        with gr.Row(elem_classes="aim-page", equal_height=False):
            with gr.Column(scale=5, min_width=320, elem_classes="aim-side"):
                asking = _asking(vlm, examples)
                knobs = _knobs(vlm)
            with gr.Column(scale=8, min_width=320, elem_classes="aim-side"):
                shown = _shown(vlm.num_layers)
        _connect(demo, vlm, Page(**asking, **knobs, **shown))
    return demo


def _asking(vlm, examples: Path) -> dict[str, Any]:
    with gr.Column(elem_classes="aim-ask"):
        video = gr.Video(label="Video", sources=["upload"], height=260, elem_id="video")
        question = gr.Textbox(
            label="Question",
            placeholder="What happens in the video?",
            lines=1,
            max_lines=4,
            max_length=handlers.MAX_QUESTION,
            elem_id="question",
        )
        with gr.Row():
            run = gr.Button("Run", variant="primary", scale=3, min_width=120, elem_id="run")
            stop = gr.Button("Stop", variant="secondary", scale=1, min_width=80, elem_id="stop")
        rows = load_examples(examples)
        if rows:
            gr.Examples(rows, inputs=[video, question], cache_examples=False, examples_per_page=8, label="Examples", elem_id="examples")
        gr.HTML((texts.BUNDLED if vlm.is_bundled else "") + texts.model_line(vlm))
    return {"video": video, "question": question, "run": run, "stop": stop}


def _knobs(vlm) -> dict[str, Any]:
    layers, default = vlm.num_layers, AIM().for_depth(vlm.num_layers)
    frames = min(8 if vlm.is_bundled else 16, vlm.max_frames)
    with gr.Column(elem_classes="aim-knobs"):
        plan = gr.HTML(handlers.plan(vlm, "", default.merge_ratio, default.l1, default.l2, frames), elem_id="plan")
        merge_ratio = gr.Slider(0.02, 1, default.merge_ratio, step=0.01, label="Merge ratio: share of tokens kept", elem_id="merge-ratio")
        with gr.Row():
            l1 = gr.Slider(0, layers, default.l1, step=1, precision=0, label="l1: drop from", min_width=140, elem_id="l1")
            l2 = gr.Slider(1, layers + 1, default.l2, step=1, precision=0, label="l2: drop until", min_width=140, elem_id="l2")
        num_frames = gr.Slider(1, vlm.max_frames, frames, step=1, precision=0, label="Frames taken from the video", elem_id="frames")
        gr.HTML(texts.KNOBS)
        with gr.Accordion("More", open=False):
            positions = gr.Radio(
                [("compact (as in the paper)", "compact"), ("original", "original")],
                value="compact",
                label="Positions of merged tokens",
                info="Compact numbers the kept tokens 0, 1, 2…; original leaves each where it was.",
            )
            max_new_tokens = gr.Slider(1, 512, 8 if vlm.is_bundled else 128, step=1, precision=0, label="Longest answer, in tokens")
            score_every_layer = gr.Checkbox(
                vlm.is_bundled, label="Score every layer", info="Also the layers whose scores decide nothing, to look at. Takes longer."
            )
    return {
        "plan": plan,
        "merge_ratio": merge_ratio,
        "l1": l1,
        "l2": l2,
        "num_frames": num_frames,
        "positions": positions,
        "max_new_tokens": max_new_tokens,
        "score_every_layer": score_every_layer,
    }


def _shown(layers: int) -> dict[str, Any]:
    with gr.Column(elem_classes="aim-result"):
        status = gr.HTML(handlers.status(handlers.READY), elem_id="status")
        answer = gr.Textbox(label="Answer", interactive=False, lines=1, max_lines=14, buttons=["copy"], elem_id="answer")
        figures = gr.HTML(elem_id="figures")
        empty = gr.HTML(texts.PLACEHOLDER)
    with gr.Column(elem_classes="aim-pictures", visible=False) as pictures:
        with gr.Row(elem_classes="aim-views"):
            view = gr.Radio(list(VIEWS), value=next(iter(VIEWS)), label="Frames", elem_id="view", scale=5, min_width=320)
            layer = gr.Slider(0, layers, layers, step=1, precision=0, label="Layer", visible=False, elem_id="layer", scale=2, min_width=200)
        legend = gr.HTML(elem_id="legend")
        gallery = gr.Gallery(
            show_label=False,
            columns=4,
            height="auto",
            object_fit="contain",
            interactive=False,
            elem_id="gallery",
            buttons=["download", "fullscreen"],
        )
        gr.HTML('<h2 class="aim-title">Tokens in each layer</h2>')
        chart = gr.Plot(show_label=False, container=False, elem_id="chart")
        download = gr.DownloadButton("Download the trace (JSON)", size="sm", elem_id="download")
    return {
        "status": status,
        "answer": answer,
        "figures": figures,
        "empty": empty,
        "pictures": pictures,
        "view": view,
        "layer": layer,
        "legend": legend,
        "gallery": gallery,
        "chart": chart,
        "download": download,
    }


def _connect(demo: gr.Blocks, vlm, page: Page) -> None:
    last_run, clips = gr.State(None, time_to_live=SESSION_SECONDS), gr.State({}, time_to_live=SESSION_SECONDS)
    signal = gr.State(StopSignal())
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    running = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "model", "trigger_mode": "once"}

    def begin(stop: StopSignal, *values):
        try:
            handlers.check(Request(*values), vlm.max_frames)
        except ValueError as error:
            raise message(error) from None
        stop.begin()
        return handlers.status("Waiting for the model…", busy=True)

    @politely
    def answer(stop: StopSignal, clips: dict, *values):
        try:
            for screen in handlers.answer(vlm, Request(*values), clips, stop, folder=get_upload_folder()):
                yield _outputs(screen)
        finally:
            stop.end()

    def failed(stop: StopSignal):
        stop.end()
        return refused()

    def refused():
        return handlers.status("Nothing was run; the message says why.")

    def draw(run, view, layer):
        if run is None:
            return [gr.skip()] * 3
        pictures = handlers.redraw(run, view, layer, folder=get_upload_folder())
        return gr.Gallery(pictures.images, columns=pictures.columns), pictures.legend, _layer_choice(pictures)

    def reveal(run, view, layer):
        return gr.Column(visible=run is not None), gr.HTML(visible=run is None), *draw(run, view, layer)

    frames_shown = [page.gallery, page.legend, page.layer]
    # Through the queue, since Gradio shows the messages of queued events only.
    instant = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    started = gr.on([page.run.click, page.question.submit], begin, [signal, *page.request()], page.status, **instant)
    started.failure(refused, None, page.status, **quiet)
    finished = started.success(
        answer,
        [signal, clips, *page.request()],
        [page.status, page.answer, page.figures, page.chart, page.download, last_run, clips],
        show_progress="hidden",
        **running,
    )
    finished.failure(failed, signal, page.status, **quiet)
    finished.success(reveal, [last_run, page.view, page.layer], [page.pictures, page.empty, *frames_shown], **quiet)
    page.stop.click(handlers.request_stop, signal, page.status, **quiet)

    gr.on([page.view.input, page.layer.input], draw, [last_run, page.view, page.layer], frames_shown, trigger_mode="always_last", **quiet)
    page.l1.input(handlers.follow_l1, [page.l1, page.l2], page.l2, **quiet)
    page.l2.input(handlers.follow_l2, [page.l1, page.l2], page.l1, **quiet)
    knobs = [page.merge_ratio, page.l1, page.l2, page.num_frames]
    gr.on(
        [component.change for component in (*knobs, page.question)],
        lambda *values: handlers.plan(vlm, *values),
        [page.question, *knobs],
        page.plan,
        trigger_mode="always_last",
        **quiet,
    )


def _outputs(screen: Screen) -> list:
    values = [screen.answer, screen.figures, screen.chart, screen.download, screen.run, screen.clips]
    return [screen.status, *(gr.skip() if value is None else value for value in values)]


def _layer_choice(pictures: Pictures) -> gr.Slider:
    if len(pictures.layers) < 2:
        return gr.Slider(visible=False)
    return gr.Slider(pictures.layers[0], pictures.layers[-1], pictures.layer, visible=pictures.by_layer)


def load_examples(folder: Path) -> list[list[str]]:
    """Rows [path, question] of `examples.json`, a list of {"file", "question", "answer"}; files that are not there are left out."""
    index = folder / "examples.json"
    entries = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    return [[str(folder / entry["file"]), entry["question"]] for entry in entries if (folder / entry["file"]).exists()]
