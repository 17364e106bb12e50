"""The Tune tab: tune the knobs to a budget on the clip and question of the page, and pick a setting. Below it, use the savings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from aim.engine.stopping import Stopped
from aim.methods import AIM, Full
from aim.methods.presets import preset
from aim.runtime.limits import MAX_PREFILLS
from aim.tuning.outcome import Tried, Tuned
from aim.ui import knobs
from aim.ui.budgets import KINDS, budget_range, chosen_budget
from aim.ui.handlers import STOPPED_EARLY
from aim.ui.model import AppModel
from aim.ui.request import METHOD_KNOBS, TOWER_KNOBS, TOWER_OFF, Request, check
from aim.ui.seen import UNSEEN, Seen
from aim.ui.spending_part import SpendingPart
from aim.ui.starting import QUIET, SESSION_SECONDS, connect_start
from aim.ui.status import status
from aim.ui.stop import StopSignal
from aim.ui.tab import Page, Tab
from aim.ui.turn import turn
from aim.views.tradeoff import outcome, progress, tradeoff_chart, tried_table

SECONDS_BETWEEN_CHARTS = 0.4
HELP = """<p class="aim-help">Set a budget. The app finds the setting closest to the full model on this clip and question: the one whose
predictions are nearest by <abbr title="KL divergence, in nats: how far apart two predictions of a word are. 0 is the same.">KL</abbr>.
</p>"""
EMPTY = f"""<div class="aim-empty">Press Tune. The clip is encoded once, and then at most {MAX_PREFILLS} settings are compared with the full
model.</div>"""
# A click anywhere on a row, or a press of its button by keyboard, picks the setting of that row.
PICK = """element.addEventListener('click', event => {
    const row = event.target.closest('tr[data-place]');
    if (row) trigger('select', { index: Number(row.dataset.place), value: null });
});"""
# The knobs that take a setting's values. The plan and the preset follow them.
MOVED = tuple(METHOD_KNOBS)


class Tune(Tab):
    """The Tune tab."""

    title = "Tune"

    def build(self, vlm) -> None:
        gr.HTML(HELP)
        kind, first = next(iter(KINDS)), knobs.defaults(vlm)
        limits = budget_range(vlm, kind, int(first["num_frames"]))
        self.kind = gr.Radio(list(KINDS), value=kind, label="Budget for", elem_id="tune-kind")
        self.amount = gr.Slider(limits.low, limits.high, limits.value, step=limits.step, label=KINDS[kind].label, elem_id="tune-amount")
        with gr.Row(elem_classes="aim-run"):
            self.start = gr.Button("Tune", variant="primary", scale=3, min_width=120, elem_id="tune-start")
            self.stop = gr.Button("Stop", scale=1, min_width=80, elem_id="tune-stop")
        self.status = gr.HTML(status("Nothing has been tuned yet."), elem_id="tune-status")
        self.chart = gr.Plot(show_label=False, container=False, visible=False, elem_id="tune-chart")
        with gr.Row():
            self.use = gr.Button("Use the chosen setting", size="sm", visible=False, elem_id="tune-use")
            self.undo = gr.Button("Undo: the settings as they were", size="sm", visible=False, elem_id="tune-undo")
        self.table = gr.HTML(EMPTY, js_on_load=PICK, elem_id="tune-table")
        self.spending = SpendingPart(vlm)

    def connect(self, page: Page) -> None:
        """Tune, Stop, the rows of the table, and the budget's slider."""
        vlm, controls, question = page.vlm, page.controls, page.asking.question
        last, read, before = (gr.State(None, time_to_live=SESSION_SECONDS) for _ in range(3))

        def tune(stop: StopSignal, kind: str, amount: float, *values):
            request = Request.of(*values)
            with turn(vlm, "tune", request, stop) as note:
                yield from tuning(vlm, request, stop, kind, amount)
                note(None)

        def follow_kind(tuned: Tuned | None, seen: Seen, kind: str, num_frames: float, amount: float | None = None):
            limits = budget_range(vlm, kind, int(num_frames), full_seconds(tuned, int(num_frames)), seen)
            value = limits.value if amount is None else min(limits.high, max(limits.low, amount))
            return gr.Slider(minimum=limits.low, maximum=limits.high, value=value, step=limits.step, label=KINDS[kind].label)

        def known(read: tuple[str, Seen] | None, video: str | None) -> Seen:
            return read[1] if read and read[0] == video else UNSEEN

        def kept(*now) -> list[Any]:
            """The setting as it was, and the button that brings it back."""
            return [list(now), gr.Button(visible=True)]

        def use(tuned: Tuned | None, read: tuple[str, Seen] | None, video: str | None, question: str | None, *now):
            chosen = None if tuned is None else tuned.chosen
            return [*moved(vlm, question, chosen, known(read, video), now[: len(tower)]), *kept(*now[len(tower) :])]

        def pick(row: gr.SelectData, tuned: Tuned | None, read: tuple[str, Seen] | None, video: str | None, question: str | None, *now):
            place = int(row.index)
            tried = tuned.tried[place] if tuned and 0 <= place < len(tuned.tried) else None
            return [*moved(vlm, question, tried, known(read, video), now[: len(tower)]), *kept(*now[len(tower) :])]

        def undo(before: list[Any] | None):
            return [*(before or [gr.skip()] * (len(MOVED) + 1)), None, gr.Button(visible=False)]

        tower = [controls[name] for name in TOWER_KNOBS]  # no setting moves these
        turned = [*(controls[name] for name in MOVED), controls["num_frames"]]
        setting = [*turned, controls["plan"], controls["preset"]]
        outputs = [self.status, self.chart, self.table, self.use, last, read]
        inputs = [self.kind, self.amount, *page.inputs]
        connect_start(self.start, self.stop, self.status, tune, inputs, outputs)
        chosen_by, then = [last, read, page.asking.video, question, *tower, *turned], [*setting, before, self.undo]
        self.table.select(pick, chosen_by, then, **QUIET)
        self.use.click(use, chosen_by, then, **QUIET)
        self.undo.click(undo, before, [*turned, before, self.undo], **QUIET)
        ranged = [last, page.seen, self.kind, controls["num_frames"]]
        self.kind.input(follow_kind, ranged, self.amount, trigger_mode="always_last", **QUIET)
        controls["num_frames"].change(follow_kind, [*ranged, self.amount], self.amount, trigger_mode="always_last", **QUIET)
        self.spending.connect(page)


def tuning(vlm: AppModel, request: Request, stop: StopSignal, kind: str, amount: float) -> Iterator[list[Any]]:
    """What to show while settings are tried, in the order of the outputs of Tune. The last one has a value for each.

    Raises:
        Refusal: see `check`, a budget that no setting meets, and whatever the video reader and the model refuse.
    """
    check(request, vlm.max_frames)
    budget = chosen_budget(kind, amount)
    if stop.is_set():
        yield [status(STOPPED_EARLY), *[gr.skip()] * 5]
        return
    yield [status("Encoding the clip…", busy=True), *[gr.skip()] * 5]
    try:
        clip = vlm.clips.clip(request.video, request.num_frames, stop)
    except Stopped:
        yield [status(STOPPED_EARLY), *[gr.skip()] * 5]
        return
    tuned, drawn = None, 0.0
    search = {"question": request.question, "budget": budget, "max_prefills": MAX_PREFILLS, "tower": request.tower()}
    for tuned in vlm.run("tune", stop, clip=clip, **search):
        chart = gr.skip()
        if time.monotonic() - drawn >= SECONDS_BETWEEN_CHARTS and tuned.tried:
            chart, drawn = gr.Plot(tradeoff_chart(tuned), visible=True), time.monotonic()
        table = tried_table(tuned) if tuned.tried else gr.skip()
        yield [status(progress(tuned, MAX_PREFILLS), busy=True), chart, table, gr.skip(), tuned, gr.skip()]
    if tuned is None or not tuned.tried:
        yield [status(STOPPED_EARLY), *[gr.skip()] * 5]
        return
    chart, use = gr.Plot(tradeoff_chart(tuned), visible=True), gr.Button(visible=tuned.chosen is not None)
    yield [status(outcome(tuned)), chart, tried_table(tuned), use, tuned, (request.video, Seen.of(clip.frames, int(request.num_frames)))]


def moved(vlm, question: str | None, tried: Tried | None, seen: Seen = UNSEEN, tower: tuple = tuple(TOWER_OFF.values())) -> list[Any]:
    """Values for the knobs in `MOVED`, the frames, the plan and the preset, so that a run uses this setting. None changes nothing.

    Args:
        tower: the vision tower's settings in the order of `TOWER_KNOBS`. They stay as they are.
    """
    if not tried:
        return [gr.skip()] * (len(MOVED) + 3)
    # The full model has no knobs of its own, so AIM's knobs are set to keep everything.
    unreduced = AIM(*preset("Full model", vlm.num_layers)).params()
    values = unreduced | vlm.fit(tried.method).params()
    planned = values | {"num_frames": tried.frames} | dict(zip(TOWER_KNOBS, tower, strict=True))
    plan = knobs.plan(vlm, question, *(planned[name] for name in knobs.PLANNED), seen=seen)
    return [*(values[name] for name in MOVED), tried.frames, plan, knobs.name_of(vlm, *(values[name] for name in knobs.PRESET))]


def full_seconds(tuned: Tuned | None, num_frames: int) -> float | None:
    """The full model's prefill in seconds, as the last tuning timed it. None if that was on another number of frames."""
    reference = tuned.tried[0] if tuned and tuned.tried else None
    return reference.prefill_seconds if reference and reference.method.name == Full.name and reference.frames == num_frames else None
