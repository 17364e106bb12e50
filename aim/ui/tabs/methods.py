"""The Compare tab: every method at one budget on the present clip and question, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from aim.engine.stopping import Stopped
from aim.methods import METHODS, Full
from aim.runtime.compare import ROUNDS, Comparison, compare
from aim.ui.asking import Asking
from aim.ui.errors import politely
from aim.ui.handlers import STOPPED_EARLY, remember, status
from aim.ui.request import FIELDS, Request, check
from aim.ui.starting import QUIET, SESSION_SECONDS, connect_start
from aim.ui.stop import StopSignal
from aim.ui.turn import turn
from aim.video.clip import Clip
from aim.views.side_by_side import comparison_chart, comparison_table, kept_sheet, overlap_table

LEAST, MOST = 1.2, 20.0
HELP = """<p class="aim-help">The same clip and question under every method, each with its own knob turned until its prefill costs the same.
How close does it stay to the full model, and what does it keep?</p>"""
EMPTY = '<div class="aim-empty">Press Compare: the clip is encoded once, then every method answers in turn.</div>'


@dataclass(frozen=True)
class Shown:
    """All that is left of a comparison, to look at another layer without the model."""

    clip: Clip
    comparison: Comparison


@dataclass(frozen=True)
class CompareTab:
    """Its components."""

    methods: gr.CheckboxGroup
    budget: gr.Slider
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    table: gr.HTML
    chart: gr.Plot
    layer: gr.Slider
    overlap: gr.HTML
    sheet: gr.HTML


def build_compare(vlm) -> CompareTab:
    """Fill the tab that is open."""
    names = [(method.__name__, name) for name, method in METHODS.items() if name != Full.name]
    gr.HTML(HELP)
    parts: dict[str, Any] = {
        "methods": gr.CheckboxGroup(names, value=[name for _, name in names], label="Methods", elem_id="compare-methods"),
        "budget": gr.Slider(
            LEAST, MOST, usual_budget(vlm), step=0.1, label="Budget: times less prefill FLOPs than the full model", elem_id="compare-budget"
        ),
    }
    with gr.Row(elem_classes="aim-run"):
        parts["start"] = gr.Button("Compare", variant="primary", scale=3, min_width=120, elem_id="compare-start")
        parts["stop"] = gr.Button("Stop", scale=1, min_width=80, elem_id="compare-stop")
    parts["status"] = gr.HTML(status("Nothing compared yet."), elem_id="compare-status")
    parts["table"] = gr.HTML(EMPTY, elem_id="compare-table")
    parts["chart"] = gr.Plot(show_label=False, container=False, visible=False, elem_id="compare-chart")
    quarter = vlm.num_layers // 4
    parts["layer"] = gr.Slider(0, vlm.num_layers - 1, quarter, step=1, label="Layer to look at", visible=False, elem_id="compare-layer")
    parts["sheet"] = gr.HTML(elem_id="compare-sheet")
    parts["overlap"] = gr.HTML(elem_id="compare-overlap")
    return CompareTab(**parts)


def usual_budget(vlm) -> float:
    """What the paper's setting saves on this model, within the slider's range."""
    from aim.methods import AIM

    return round(min(MOST, max(LEAST, vlm.plan(8, 20, AIM()).speedup)), 1)


def connect_compare(vlm, asking: Asking, requested: dict[str, Any], tab: CompareTab) -> None:
    """Compare, Stop, and the layer that is looked at. `requested` are the page's components by their names in `FIELDS`."""
    last, clips = gr.State(None, time_to_live=SESSION_SECONDS), gr.State({}, time_to_live=SESSION_SECONDS)
    inputs = [clips, tab.methods, tab.budget, tab.layer, *(requested[name] for name in FIELDS)]

    @politely
    def run(stop: StopSignal, clips: dict, names: list[str], times_less: float, layer: int, *values):
        request = Request.of(*values)
        with turn(vlm, "compare", request, stop) as note:
            for screen in side_by_side(vlm, request, clips, stop, names, times_less, int(layer)):
                for run in screen[-2].comparison.runs if isinstance(screen[-2], Shown) else ():
                    note(run.answer)
                yield screen

    def look(shown: Shown | None, layer: int):
        return [gr.skip()] * 2 if shown is None else pictures(shown, int(layer))

    outputs = [tab.status, tab.table, tab.chart, tab.layer, tab.overlap, tab.sheet, last, clips]
    connect_start(tab.start, tab.stop, tab.status, run, inputs, outputs)
    tab.layer.input(look, [last, tab.layer], [tab.overlap, tab.sheet], trigger_mode="always_last", **QUIET)


def side_by_side(
    vlm, request: Request, clips: dict, stop: StopSignal, names: list[str], times_less: float, layer: int
) -> Iterator[list[Any]]:
    """What to show while the methods run, in the order of `connect_compare`'s outputs; the last one has a value for each.

    Raises:
        ValueError: see `check`; no method chosen; and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    if not names:
        raise ValueError("No method is chosen; choose one or more to compare with the full model.")
    nothing = [gr.skip()] * 6
    yield [status("Encoding the clip…", busy=True), gr.skip(), *nothing]
    try:
        clips = remember(clips, request, stop=stop)
    except Stopped:
        yield [status(STOPPED_EARLY), gr.skip(), *nothing]
        return
    clip = clips[request.video, request.num_frames]
    grid = vlm.grid(len(clip.frames), *clip.frames.shape[1:3])
    text_tokens = len(vlm.prompt_ids(request.question, grid)) - grid.tokens
    budget = vlm.plan(len(clip.frames), text_tokens, Full(), grid).prefill_tflops / times_less
    comparison = Comparison(budget)
    for comparison in compare(vlm, clip, request.question, names, budget, int(request.max_new_tokens), _rounds(vlm), stop):
        if not comparison.complete:
            runs, told = len(comparison.runs), "timing them in turns" if len(comparison.runs) > len(names) else "next one"
            yield [status(f"{runs} of {len(names) + 1} ran; {told}…", busy=True), comparison_table(comparison), *nothing]
    if not comparison.runs:
        yield [status(STOPPED_EARLY), gr.skip(), *nothing[:-1], clips]
        return
    shown = Shown(clip, comparison)
    told = "Done." if comparison.complete else "Stopped. What was done so far stays."
    yield [
        status(told),
        comparison_table(comparison),
        gr.Plot(comparison_chart(comparison), visible=True),
        gr.Slider(visible=True),
        *pictures(shown, layer),
        shown,
        clips,
    ]


def pictures(shown: Shown, layer: int) -> list[str]:
    """Overlap and frames for one layer, as HTML."""
    sheet = kept_sheet(shown.clip.frames, shown.clip.timestamps, shown.comparison, layer)
    return [overlap_table(shown.comparison, layer), _inline(sheet, layer)]


def _inline(sheet, layer: int) -> str:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = f"Clear: patches that hold a visual token of layer {layer}. Veiled: none left there."
    return (
        f'<p class="aim-reading">{caption}</p><div class="aim-scroll" tabindex="0" role="group" aria-label="Frames">'
        f'<img class="aim-sheet" width="{sheet.width}" height="{sheet.height}" '
        f'src="data:image/jpeg;base64,{data}" alt="The same frames under each method, in layer {layer}"></div>'
    )


def _rounds(vlm) -> int:
    """A small model is timed in several rounds; one that takes long is not kept from the next visitor."""
    return ROUNDS if sum(np.prod(weight.shape) for weight in vlm.model.parameters()) < 1e9 else 2
