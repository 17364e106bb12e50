"""The part of the page where a run is seen: status, answer, figures, and the tabs."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from aim.ui import explorer, takeaway, texts
from aim.ui.handlers import READY, status
from aim.ui.tabs import evidence
from aim.ui.tabs.methods import CompareTab, build_compare
from aim.ui.tabs.tune import TradeoffTab, build_tradeoff


@dataclass(frozen=True)
class Results:
    """Its components. `of_a_run` are the tabs that have something to show only after a run."""

    status: gr.HTML
    answer: gr.Textbox
    full_answer: gr.Textbox
    note: gr.HTML
    figures: gr.HTML
    empty: gr.HTML
    frames: gr.HTML
    chart: gr.Plot
    time: gr.HTML
    cost: gr.HTML
    trace_file: gr.DownloadButton
    report_file: gr.DownloadButton
    sheet_view: gr.Radio
    sheet_file: gr.DownloadButton
    code: gr.Code
    link: gr.Textbox
    compare: CompareTab
    tradeoff: TradeoffTab
    of_a_run: list[gr.Tab]


def build_answer() -> dict[str, gr.Component]:
    """Status, answers and figures."""
    with gr.Column(elem_classes="aim-result"):
        shown = {"status": gr.HTML(status(READY), elem_id="status")}
        with gr.Row(elem_classes="aim-answers"):
            text = {"interactive": False, "lines": 1, "max_lines": 14, "buttons": ["copy"], "min_width": 160}
            shown["answer"] = gr.Textbox(label="Answer", elem_id="answer", **text)
            shown["full_answer"] = gr.Textbox(label="The full model", visible=False, elem_id="full-answer", **text)
        shown["note"] = gr.HTML(elem_id="note")
        shown["figures"] = gr.HTML(elem_id="figures")
    return shown


def build_results(vlm) -> Results:
    """The answer and the tabs."""
    shown = build_answer()
    with gr.Column(elem_classes="aim-pictures"), gr.Tabs(elem_id="tabs"):
        with gr.Tab("Frames"):
            shown["empty"] = gr.HTML(texts.PLACEHOLDER)
            shown["frames"] = explorer.build_frames()
        with gr.Tab("Layers", interactive=False) as layers:
            shown["chart"] = gr.Plot(show_label=False, container=False, elem_id="chart")
            gr.HTML(texts.LAYERS)
        with gr.Tab("Time", interactive=False) as time:
            shown["time"] = explorer.build_time()
        with gr.Tab("Cost", interactive=False) as cost:
            shown["cost"] = gr.HTML(elem_id="cost")
        with gr.Tab("Compare"):
            shown["compare"] = build_compare(vlm)
        with gr.Tab("Trade-off"):
            shown["tradeoff"] = build_tradeoff(vlm)
        with gr.Tab("Findings"):
            evidence.build_tab()
        with gr.Tab("Take away", interactive=False) as take_away:
            shown |= build_take_away()
            gr.HTML(texts.TAKE_AWAY)
    return Results(**shown, of_a_run=[layers, time, cost, take_away])


def build_take_away() -> dict[str, gr.Component]:
    """Files, code and link."""
    views = takeaway.sheet_views()
    with gr.Row():
        files = {
            "report_file": gr.DownloadButton("Report (HTML, opens offline)", size="sm", elem_id="report"),
            "trace_file": gr.DownloadButton("Trace (JSON)", size="sm", elem_id="trace"),
            "sheet_file": gr.DownloadButton("Sheet of frames (PNG)", size="sm", elem_id="sheet"),
        }
    return {
        **files,
        "sheet_view": gr.Radio(views, value=views[0], label="On the sheet", elem_id="sheet-view"),
        "link": gr.Textbox(label="Link to this run", interactive=False, max_lines=3, buttons=["copy"], elem_id="link"),
        "code": gr.Code(label="The same run in Python", language=None, interactive=False, buttons=["copy"], elem_id="code"),
    }
