"""The Trade-off tab: tune the knobs to a budget on the present clip and question, pick a setting, spend what it saves on more frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.methods import AIM, Full
from aim.methods.presets import preset
from aim.tuning.outcome import Tried, Tuned
from aim.tuning.search import MAX_PREFILLS, tune_steps
from aim.ui import knobs
from aim.ui.asking import Asking
from aim.ui.budgets import KINDS, budget_range, chosen_budget
from aim.ui.errors import politely
from aim.ui.handlers import STOPPED_EARLY, remember, status
from aim.ui.request import FIELDS, METHOD_KNOBS, Request, check
from aim.ui.spending import saving, spending
from aim.ui.starting import QUIET, SESSION_SECONDS, connect_start
from aim.ui.stop import StopSignal
from aim.ui.turn import turn
from aim.views.tradeoff import outcome, progress, tradeoff_chart, tried_table

SECONDS_BETWEEN_CHARTS = 0.4
HELP = """<p class="aim-help">What may a prefill cost? The knobs are then tuned on this clip and question: within that budget, as near to
the full model as can be.</p>"""
EMPTY = '<div class="aim-empty">Press Tune: the clip is encoded once, then at most 24 settings are measured against the full model.</div>'
# A click anywhere on a row, or its button by keyboard, says which tried setting it is.
PICK = """element.addEventListener('click', event => {
    const row = event.target.closest('tr[data-place]');
    if (row) trigger('select', { index: Number(row.dataset.place), value: null });
});"""
# The knobs a setting is written to; the plan and the preset follow.
MOVED = tuple(METHOD_KNOBS)


@dataclass(frozen=True)
class TradeoffTab:
    """Its components."""

    kind: gr.Radio
    amount: gr.Slider
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    chart: gr.Plot
    table: gr.HTML
    use: gr.Button
    saving: gr.HTML
    spend: gr.Button
    spend_stop: gr.Button
    spend_status: gr.HTML
    spent: gr.HTML


def build_tradeoff(vlm) -> TradeoffTab:
    """Fill the tab that is open."""
    gr.HTML(HELP)
    kind = next(iter(KINDS))
    limits = budget_range(vlm, kind, int(knobs.defaults(vlm)["num_frames"]))
    parts: dict[str, Any] = {
        "kind": gr.Radio(list(KINDS), value=kind, label="Budget for", elem_id="tune-kind"),
        "amount": gr.Slider(limits.low, limits.high, limits.value, step=limits.step, label=KINDS[kind].label, elem_id="tune-amount"),
    }
    with gr.Row(elem_classes="aim-run"):
        parts["start"] = gr.Button("Tune", variant="primary", scale=3, min_width=120, elem_id="tune-start")
        parts["stop"] = gr.Button("Stop", scale=1, min_width=80, elem_id="tune-stop")
    parts["status"] = gr.HTML(status("Nothing tuned yet."), elem_id="tune-status")
    parts["chart"] = gr.Plot(show_label=False, container=False, visible=False, elem_id="tune-chart")
    parts["use"] = gr.Button("Use the chosen setting", size="sm", visible=False, elem_id="tune-use")
    parts["table"] = gr.HTML(EMPTY, js_on_load=PICK, elem_id="tune-table")
    gr.HTML('<h2 class="aim-section">Spend the saving</h2>')
    first = knobs.defaults(vlm)
    text, label = saving(vlm, None, *(first[name] for name in knobs.PLANNED))
    parts["saving"] = gr.HTML(text, elem_id="saving")
    with gr.Row(elem_classes="aim-run"):
        parts["spend"] = gr.Button(label or "Run both", interactive=bool(label), scale=3, min_width=120, elem_id="spend")
        parts["spend_stop"] = gr.Button("Stop", scale=1, min_width=80, elem_id="spend-stop")
    parts["spend_status"] = gr.HTML(elem_id="spend-status")
    parts["spent"] = gr.HTML(elem_id="spent")
    return TradeoffTab(**parts)


def connect_tradeoff(vlm, asking: Asking, requested: dict[str, Any], controls: dict[str, Any], tab: TradeoffTab) -> None:
    """Tune, Stop, the rows, and both runs of a saving. `requested` are the page's components by their names in `FIELDS`."""
    last, clips = gr.State(None, time_to_live=SESSION_SECONDS), gr.State({}, time_to_live=SESSION_SECONDS)
    inputs = [requested[name] for name in FIELDS]

    @politely
    def tune(stop: StopSignal, clips: dict, kind: str, amount: float, *values):
        request = Request.of(*values)
        with turn(vlm, "tune", request, stop) as note:
            yield from tuning(vlm, request, clips, stop, kind, amount)
            note(None)

    @politely
    def spend_it(stop: StopSignal, clips: dict, *values):
        request = Request.of(*values)
        with turn(vlm, AIM.name, request, stop) as note:
            yield from spending(vlm, request, clips, stop, note)

    def follow_kind(tuned: Tuned | None, kind: str, num_frames: float, amount: float | None = None):
        limits = budget_range(vlm, kind, int(num_frames), full_seconds(tuned, int(num_frames)))
        value = limits.value if amount is None else min(limits.high, max(limits.low, amount))
        return gr.Slider(minimum=limits.low, maximum=limits.high, value=value, step=limits.step, label=KINDS[kind].label)

    def move(stop: StopSignal, tuned: Tuned | None, question: str | None):
        return moved(vlm, question, None if stop.asked or tuned is None else tuned.chosen)

    def use(tuned: Tuned | None, question: str | None):
        return moved(vlm, question, tuned and tuned.chosen)

    def pick(tuned: Tuned | None, question: str | None, row: gr.SelectData):
        place = int(row.index)
        return moved(vlm, question, tuned.tried[place] if tuned and 0 <= place < len(tuned.tried) else None)

    def tell(question: str | None, *values):
        text, label = saving(vlm, question, *values)
        return text, gr.Button(label or "Run both", interactive=bool(label))

    setting = [*(controls[name] for name in MOVED), controls["num_frames"], controls["plan"], controls["preset"]]
    outputs = [tab.status, tab.chart, tab.table, tab.use, last, clips]
    signal, finished = connect_start(tab.start, tab.stop, tab.status, tune, [clips, tab.kind, tab.amount, *inputs], outputs)
    finished.success(move, [signal, last, asking.question], setting, **QUIET)
    tab.table.select(pick, [last, asking.question], setting, **QUIET)
    tab.use.click(use, [last, asking.question], setting, **QUIET)
    ranged = [last, tab.kind, controls["num_frames"]]
    tab.kind.input(follow_kind, ranged, tab.amount, trigger_mode="always_last", **QUIET)
    controls["num_frames"].change(follow_kind, [*ranged, tab.amount], tab.amount, trigger_mode="always_last", **QUIET)

    planned_by = [asking.question, *(controls[name] for name in knobs.PLANNED)]
    controls["plan"].change(tell, planned_by, [tab.saving, tab.spend], trigger_mode="always_last", **QUIET)
    connect_start(tab.spend, tab.spend_stop, tab.spend_status, spend_it, [clips, *inputs], [tab.spend_status, tab.spent, clips])


def tuning(vlm, request: Request, clips: dict, stop: StopSignal, kind: str, amount: float) -> Iterator[list[Any]]:
    """What to show while settings are tried, in the order of `connect_tradeoff`'s outputs; the last one has a value for each.

    Raises:
        ValueError: see `check`; a budget nothing meets; and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    budget = chosen_budget(kind, amount)
    if stop.is_set():
        yield [status(STOPPED_EARLY), *[gr.skip()] * 4, clips]
        return
    yield [status("Encoding the clip…", busy=True), *[gr.skip()] * 5]
    try:
        clips = remember(clips, request, stop=stop)
    except Stopped:
        yield [status(STOPPED_EARLY), *[gr.skip()] * 5]
        return
    clip = clips[request.video, request.num_frames]
    tuned, drawn = None, 0.0
    for tuned in tune_steps(vlm, clip, request.question, budget, max_prefills=MAX_PREFILLS, stop=stop):
        chart = gr.skip()
        if time.monotonic() - drawn >= SECONDS_BETWEEN_CHARTS and tuned.tried:
            chart, drawn = gr.Plot(tradeoff_chart(tuned), visible=True), time.monotonic()
        table = tried_table(tuned) if tuned.tried else gr.skip()
        yield [status(progress(tuned, MAX_PREFILLS), busy=True), chart, table, gr.skip(), tuned, gr.skip()]
    if tuned is None or not tuned.tried:
        yield [status(STOPPED_EARLY), *[gr.skip()] * 4, clips]
        return
    chart, use = gr.Plot(tradeoff_chart(tuned), visible=True), gr.Button(visible=tuned.chosen is not None)
    yield [status(outcome(tuned)), chart, tried_table(tuned), use, tuned, clips]


def moved(vlm, question: str | None, tried: Tried | None) -> list[Any]:
    """Values for the knobs in `MOVED`, the frames, the plan and the preset, so that a run is this setting; skips for None."""
    if not tried:
        return [gr.skip()] * (len(MOVED) + 3)
    # The full model has no knobs of its own; these say the same.
    unreduced = AIM(*preset("Full model", vlm.num_layers)).params()
    values = unreduced | tried.method.for_depth(vlm.num_layers).params()
    merge_ratio, l1, l2 = (values[name] for name in ("merge_ratio", "l1", "l2"))
    plan = knobs.plan(vlm, question, *((values | {"num_frames": tried.frames})[name] for name in knobs.PLANNED))
    return [*(values[name] for name in MOVED), tried.frames, plan, knobs.name_of(vlm, merge_ratio, l1, l2)]


def full_seconds(tuned: Tuned | None, num_frames: int) -> float | None:
    """The full model's prefill as the last tuning timed it, if it was on so many frames."""
    reference = tuned.tried[0] if tuned and tuned.tried else None
    return reference.prefill_seconds if reference and reference.method.name == Full.name and reference.frames == num_frames else None
