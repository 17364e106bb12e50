"""The Methods tab: every method at one budget, side by side, on the clip and question of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from inspect import getdoc
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.methods import AIM, COMPARABLE, Full
from aim.runtime.compare import Comparison
from aim.runtime.limits import TYPICAL_TEXT_TOKENS
from aim.ui.handlers import STOPPED_EARLY
from aim.ui.model import AppModel
from aim.ui.request import Request, check
from aim.ui.starting import QUIET, SESSION_SECONDS, connect_start
from aim.ui.status import status
from aim.ui.stop import StopSignal
from aim.ui.tab import Page, Tab
from aim.ui.turn import turn
from aim.video.clip import Clip
from aim.views.html_tables import scrolling
from aim.views.overlap import overlap_table
from aim.views.sheet import jpeg_url
from aim.views.side_by_side import comparison_chart, comparison_lines, comparison_table, kept_keys, kept_sheet

LEAST, MOST = 1.2, 20.0
HELP = """<p class="aim-help">Every method answers the same question about the same clip. Each one is set so that its prefill costs about
the same. The table says how close each method stays to the full model, and the frames show what it keeps.</p>"""
# Gradio gives the box that chooses all a tooltip, and no name for those who hear the page.
NAME_ALL = "() => document.querySelectorAll('.select-all-checkbox').forEach(box => box.setAttribute('aria-label', box.title))"
EMPTY = '<div class="aim-empty">Press Compare. The clip is encoded once, and then every method answers in turn.</div>'


@dataclass(frozen=True)
class FinishedComparison:
    """What is kept of a comparison, so that another layer is shown without the model. `clip` is as in `handlers.FinishedRun`."""

    clip: Callable[[], Clip]
    comparison: Comparison


class Methods(Tab):
    """The Methods tab."""

    title = "Methods"

    def build(self, vlm) -> None:
        names = [(method.__name__, name) for name, method in COMPARABLE.items() if name != Full.name]
        gr.HTML(HELP + what_they_do())
        self.methods = gr.CheckboxGroup(
            names,
            value=[name for _, name in names],
            label="Methods",
            info="After a comparison, this also picks which of them are shown.",
            show_select_all=True,
            elem_id="compare-methods",
        )
        self.budget = gr.Slider(LEAST, MOST, usual_budget(vlm), step=0.1, label="FLOPs reduction (×)", elem_id="compare-budget")
        with gr.Row(elem_classes="aim-run"):
            self.start = gr.Button("Compare", variant="primary", scale=3, min_width=120, elem_id="compare-start")
            self.stop = gr.Button("Stop", scale=1, min_width=80, elem_id="compare-stop")
        self.status = gr.HTML(status("Nothing has been compared yet."), elem_id="compare-status")
        self.table = gr.HTML(EMPTY, elem_id="compare-table")
        self.chart = gr.Plot(show_label=False, container=False, visible=False, elem_id="compare-chart")
        quarter = vlm.num_layers // 4
        self.layer = gr.Slider(0, vlm.num_layers - 1, quarter, step=1, label="Layer to look at", visible=False, elem_id="compare-layer")
        self.sheet = gr.HTML(elem_id="compare-sheet")
        self.overlap = gr.HTML(elem_id="compare-overlap")

    def connect(self, page: Page) -> None:
        """Compare, Stop, and what of the results is looked at: which methods, and which layer."""
        vlm, last = page.vlm, gr.State(None, time_to_live=SESSION_SECONDS)

        def run(stop: StopSignal, names: list[str], reduction: float, layer: int, *values):
            request = Request.of(*values)
            with turn(vlm, "compare", request, stop) as note:
                for update in side_by_side(vlm, request, stop, names, reduction, int(layer)):
                    for run in update[-1].comparison.runs if isinstance(update[-1], FinishedComparison) else ():
                        note(run.answer)
                    yield update

        def look(finished: FinishedComparison | None, names: list[str], layer: int):
            return [gr.skip()] * 2 if finished is None else pictures(finished, names, int(layer))

        def pick(finished: FinishedComparison | None, names: list[str], layer: int):
            return [gr.skip()] * 4 if finished is None else [*charts(finished, names), *pictures(finished, names, int(layer))]

        self.place.select(None, None, None, js=NAME_ALL, **QUIET)
        inputs = [self.methods, self.budget, self.layer, *page.inputs]
        outputs = [self.status, self.table, self.chart, self.layer, self.overlap, self.sheet, last]
        connect_start(self.start, self.stop, self.status, run, inputs, outputs)
        seen = [last, self.methods, self.layer]
        self.layer.input(look, seen, [self.overlap, self.sheet], trigger_mode="always_last", **QUIET)
        shown = [self.table, self.chart, self.overlap, self.sheet]
        self.methods.input(pick, seen, shown, trigger_mode="always_last", **QUIET)


def what_they_do() -> str:
    """What each method does, in the first words of its class, as a list that opens."""
    lines = []
    for method in COMPARABLE.values():
        first, *_ = (getdoc(method) or "").split("\n\n")
        told = re.sub("`(.+?)`", r"<code>\1</code>", escape(first))
        lines.append(f"<dt>{method.__name__}</dt><dd>{told}</dd>")
    return f'<details class="aim-help aim-methods"><summary>What each method does</summary><dl>{"".join(lines)}</dl></details>'


def usual_budget(vlm) -> float:
    """What the paper's setting saves on this model, within the slider's range."""
    return round(min(MOST, max(LEAST, vlm.plan(8, TYPICAL_TEXT_TOKENS, AIM()).speedup)), 1)


def side_by_side(vlm: AppModel, request: Request, stop: StopSignal, names: list[str], reduction: float, layer: int) -> Iterator[list[Any]]:
    """What to show while the methods run, in the order of the outputs of Compare. The last one has a value for each.

    Raises:
        Refusal: see `check`; no method chosen; and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    if not names:
        raise Refusal("No method is chosen. Choose one or more to compare with the full model.")
    nothing = [gr.skip()] * 5
    yield [status("Encoding the clip…", busy=True), gr.skip(), *nothing]
    try:
        clip = vlm.clips.clip(request.video, request.num_frames, stop)
    except Stopped:
        yield [status(STOPPED_EARLY), gr.skip(), *nothing]
        return
    comparison, asked = None, {"names": names, "reduction": reduction, "max_new_tokens": int(request.max_new_tokens)}
    for comparison in vlm.run("compare", stop, clip=clip, question=request.question, tower=request.tower(), **asked):
        if not comparison.complete:
            runs, all_runs = len(comparison.runs), len(names) + 1 - len(comparison.left_out)
            told = "Timing them in turns" if runs == all_runs else "The next one runs"
            yield [status(f"{runs} of {all_runs} have answered. {told}…", busy=True), comparison_table(comparison), *nothing]
    if comparison is None:
        yield [status(STOPPED_EARLY), gr.skip(), *nothing]
        return
    finished = FinishedComparison(partial(vlm.clips.clip, request.video, request.num_frames), comparison)
    told = "Done." if comparison.complete else "Stopped. The results so far stay."
    yield [
        status(told),
        *charts(finished, names),
        gr.Slider(visible=True),
        *pictures(finished, names, layer),
        finished,
    ]


def charts(finished: FinishedComparison, names: list[str]) -> list[Any]:
    """Table and chart of the full model and the methods in `names` that have been run."""
    shown = finished.comparison.only(names)
    return [f"{comparison_table(shown)}{comparison_lines(shown)}", gr.Plot(comparison_chart(shown), visible=True)]


def pictures(finished: FinishedComparison, names: list[str], layer: int) -> list[str]:
    """Overlap and frames of the same for one layer, as HTML."""
    clip, shown = finished.clip(), finished.comparison.only(names)
    sheet = kept_sheet(clip.frames, clip.timestamps, shown, layer)
    return [overlap_table(shown, layer), _inline(sheet, layer, kept_keys(shown, layer))]


def _inline(sheet, layer: int, keys: str) -> str:
    caption = f"A visual token of layer {layer} stands at each clear patch. A pattern tells what became of the others:"
    picture = (
        f'<img class="aim-sheet" width="{sheet.width}" height="{sheet.height}" '
        f'src="{jpeg_url(sheet, quality=85)}" alt="The same frames under each method, in layer {layer}">'
    )
    return f'<p class="aim-reading">{caption}</p>{keys}{scrolling("Frames", picture)}'
