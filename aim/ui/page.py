"""The page: its parts, where they stand, and how it is served."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from aim.ui import texts
from aim.ui.api import build_api
from aim.ui.asking import build_asking, connect_asking
from aim.ui.choosing import Chooser
from aim.ui.choosing_part import ChoosingPart
from aim.ui.counterfactual import connect_counterfactual
from aim.ui.examples import FOLDER, Example, load_examples
from aim.ui.gpu import placed
from aim.ui.knob_events import connect_knobs, connect_seen
from aim.ui.knobs import build_knobs, defaults
from aim.ui.link_events import connect_link
from aim.ui.live import connect_live
from aim.ui.model import AppModel
from aim.ui.opening import opening
from aim.ui.pace import pace_of
from aim.ui.request import FIELDS, FIRST
from aim.ui.results import build_results, build_status
from aim.ui.run_events import connect_run
from aim.ui.seen import UNSEEN
from aim.ui.sharing import build_share, connect_share
from aim.ui.starting import SESSION_SECONDS
from aim.ui.tab import Page, Tab
from aim.ui.tabs import make_tabs
from aim.ui.tour import build_tour, connect_tour
from aim.video.intake.limits import MAX_UPLOAD_MEGABYTES

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SWEEP_SECONDS, UPLOAD_SECONDS, CLOSED_SECONDS = 300, 3600, 5
# At most 16 visitors wait at once, for all runs together; ZeroGPU would allow one. Nobody passes the queue by calling an event's route.
QUEUE: dict[str, Any] = {"max_size": 16, "api_open": False}


def launch_options(examples: Path = FOLDER) -> dict[str, Any]:
    """What `Blocks.launch` needs for this page: looks, limits, and which files it may serve."""
    return {
        "theme": theme(),
        "css_paths": ASSETS / "style.css",
        "allowed_paths": [str(examples.resolve())],
        "max_file_size": f"{MAX_UPLOAD_MEGABYTES}mb",
        "footer_links": ["api", "gradio", "settings"],
        "run_history": False,
        "state_session_capacity": 50,
    }


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the visitor's own system font, so that nothing is fetched, and texts dark enough to read (WCAG AA)."""
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


def build_demo(vlm, examples: Path = FOLDER, notice: str = "", chooser: Chooser | None = None) -> gr.Blocks:
    """The app around a loaded model (`aim.load`).

    Args:
        examples: a folder with an `examples.json`. Without that file there are no examples.
        notice: what visitors should know first, such as that another model was wanted.
        chooser: with it, visitors may choose another model than `vlm`, which is its own at first.
    """
    vlm, known = placed(vlm), load_examples(examples)
    if chooser is not None:
        vlm, chooser.build = chooser.seated(vlm), partial(build_demo, examples=examples, chooser=chooser)
    with gr.Blocks(title="AIM Explorer", fill_width=True, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, UPLOAD_SECONDS)) as demo:
        with gr.Row(elem_classes="aim-top", equal_height=False):
            gr.HTML(texts.HEADER, elem_id="header")
            share = build_share()
        if notice:
            gr.HTML(texts.notice(notice), elem_id="notice")
        client = gr.Textbox(visible=False, elem_id="client")
        first = opening(vlm, known)
        asking = build_asking(vlm, known)
        choosing = None if chooser is None else ChoosingPart(chooser)
        with gr.Row(elem_classes="aim-line", equal_height=False):
            state = build_status(vlm)
            tour = build_tour()
        with gr.Row(elem_classes="aim-page", equal_height=False):
            with gr.Column(scale=8, min_width=320):
                results = build_results(vlm, state, first, facts(vlm, known))
            controls = build_knobs(vlm, known[0] if known else None, first)
        tabs = build_tabs(vlm)
        build_api(vlm)
        requested = {"video": asking.video, "question": asking.question, **controls}
        inputs = [requested[name] for name in FIELDS]
        seen = gr.State(UNSEEN, time_to_live=SESSION_SECONDS)
        last_run = gr.State(None, time_to_live=SESSION_SECONDS)
        connect_settings(demo, inputs)
        connect_knobs(vlm, asking.question, controls, seen)
        connect_asking(asking, known, controls["num_frames"], vlm.max_frames)
        connect_link(demo, vlm, requested, controls, results, examples, client)
        connect_live(vlm, inputs, controls, results, last_run, client, seen)
        connect_tour(vlm, tour, controls)
        connect_share(vlm, share, last_run, client, examples)
        connect_counterfactual(vlm, inputs, results, client)
        finished = connect_run(vlm, asking, inputs, results, last_run, client, controls["guard"])
        page = Page(vlm, asking, controls, inputs, examples, last_run, seen)
        for tab in tabs:
            tab.connect(page)
        connect_seen(vlm, asking, controls, seen, last_run, finished)
        if choosing is not None:
            choosing.connect(vlm)
        demo.unload(forget(demo))
    demo.queue(**QUEUE)
    if chooser is not None and chooser.running is None:
        chooser.running = demo
    return demo


def facts(vlm: AppModel, known: list[Example]) -> dict[str, Any]:
    """What the page's script knows of the page. It writes the address, and notices where a setting has changed."""
    return {
        "names": list(FIELDS),
        "always": ["question", *FIRST],
        "usual": defaults(vlm),
        "examples": [example.path.name for example in known],
        "model": texts.public_name(vlm.name),
        **pace_of(vlm),
    }


def connect_settings(demo: gr.Blocks, inputs: list) -> None:
    """The script hears of every change of an input, in the browser alone."""
    told: dict[str, Any] = {"js": "(...values) => window.aimPage?.changed(values)", "api_visibility": "private", "show_progress": "hidden"}
    gr.on([part.change for part in inputs], None, inputs, None, **told)


def build_tabs(vlm) -> list[Tab]:
    """Add the tabs to the page."""
    tabs = make_tabs()
    with gr.Tabs(overflow_behavior="wrap", elem_id="tabs"):
        for tab in tabs:
            with gr.Tab(tab.title) as tab.place:
                tab.build(vlm)
    return tabs


def forget(demo: gr.Blocks):
    """What happens when a visitor's page closes: what its session holds, such as its last run, is let go soon.

    Gradio would keep it for an hour.
    """
    closed: dict[str, float] = {}

    def unload(request: gr.Request) -> None:
        session, sessions, now = request.session_hash, demo.state_holder.session_data, time.monotonic()
        # It is not dropped at once, because an event that is still ending would make it anew, and nothing would drop that one.
        if session is not None and session in sessions:
            sessions[session].STATE_TTL_WHEN_CLOSED = CLOSED_SECONDS
            closed[session] = now
        for gone in [gone for gone, since in closed.items() if now - since > CLOSED_SECONDS]:
            sessions.pop(gone, None)
            del closed[gone]

    return unload
