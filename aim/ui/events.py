"""Which handler each event of the page calls."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from aim.methods import AIM
from aim.runtime.memory import give_back_freed
from aim.ui import explorer, handlers, knobs, takeaway
from aim.ui.asking import Asking
from aim.ui.errors import message, politely
from aim.ui.examples import example_of
from aim.ui.guard import connect_guard
from aim.ui.handlers import Run, Screen
from aim.ui.permalink import link_query, restore
from aim.ui.request import FIELDS, KNOBS, Request, check
from aim.ui.results import Results
from aim.ui.run_log import refused_run
from aim.ui.starting import AT_ONCE, ONE_AT_A_TIME, QUIET, SESSION_SECONDS, halt
from aim.ui.stop import StopSignal
from aim.ui.tabs.methods import connect_compare
from aim.ui.tabs.tune import connect_tradeoff
from aim.ui.turn import turn
from aim.views.charts import layer_chart
from aim.views.costs import cost_table

FULL_LINK = "query => query ? location.origin + location.pathname + query : ''"


def connect(demo: gr.Blocks, vlm, asking: Asking, controls: dict[str, Any], results: Results, examples: Path) -> None:
    """Connect the whole page. `controls` are the knobs by their names in `FIELDS`, and `preset` and `plan`."""
    requested = {"video": asking.video, "question": asking.question, "compare": asking.compare, **controls}
    connect_knobs(vlm, asking, controls)
    connect_link(demo, vlm, requested, controls, results, examples)
    connect_run(vlm, asking, [requested[name] for name in FIELDS], results, examples, controls["guard"])
    connect_compare(vlm, asking, requested, results.compare)
    connect_tradeoff(vlm, asking, requested, controls, results.tradeoff)
    asking.upload.upload(lambda path: path, asking.upload, asking.video, **QUIET)


def connect_run(vlm, asking: Asking, inputs: list, results: Results, examples: Path, guarded: gr.Checkbox) -> None:
    """Run, Stop, and what is drawn and saved after a run."""
    last_run, clips = gr.State(None, time_to_live=SESSION_SECONDS), gr.State({}, time_to_live=SESSION_SECONDS)
    signal = gr.State(StopSignal())

    def begin(stop: StopSignal, *values):
        request = Request.of(*values)
        try:
            check(request, vlm.max_frames)
        except ValueError as error:
            refused_run(vlm, AIM.name, request.num_frames)
            raise message(error) from None
        stop.begin()
        label = f"{'With these knobs' if request.compare else 'Answer'}: {shorten(request.question, 80, placeholder='…')}"
        return handlers.status("Waiting for the model…", busy=True), gr.Textbox(label=label), gr.Textbox(visible=request.compare)

    @politely
    def answer(stop: StopSignal, clips: dict, *values):
        request = Request.of(*values)
        with turn(vlm, AIM.name, request, stop) as note:
            for screen in handlers.answer(vlm, request, clips, stop):
                for complete in screen.run.answers if screen.run else ():
                    note(complete)
                yield _outputs(screen)

    def refused():
        return handlers.status("Nothing was run; the message says why.")

    def failed(stop: StopSignal):
        stop.end()
        return refused()

    def reveal(run: Run | None):
        return gr.HTML(visible=run is None), *(gr.Tab(interactive=run is not None) for _ in results.of_a_run)

    def draw(run: Run | None):
        if run is None:
            return [gr.skip()] * 4
        chart = layer_chart(run.trace, run.plan.tokens_per_layer)
        return explorer.explorer_value(run), chart, explorer.time_value(run), cost_table(run.answer)

    def keep(run: Run | None, view: str):
        if run is None:
            return [gr.skip()] * 5
        example, folder = example_of(run.request.video, examples), get_upload_folder()
        try:
            files = takeaway.save_report(run, example, folder), takeaway.save_trace(run, folder), takeaway.save_sheet(run, view, folder)
        except OSError as error:
            raise message(error) from None
        finally:
            give_back_freed()
        return *files, takeaway.python_code(run, example), link_query(run.request, vlm, examples)

    def sheet(run: Run | None, view: str):
        return gr.skip() if run is None else takeaway.save_sheet(run, view, get_upload_folder())

    started = gr.on(
        [asking.run.click, asking.question.submit],
        begin,
        [signal, *inputs],
        [results.status, results.answer, results.full_answer],
        **AT_ONCE,
    )
    started.failure(refused, None, results.status, **QUIET)
    shown = [results.status, results.answer, results.note, results.full_answer, results.figures, last_run, clips]
    answering = {"trigger_mode": "once", "show_progress_on": [results.status], **ONE_AT_A_TIME}
    finished = started.success(answer, [signal, clips, *inputs], shown, **answering)
    finished.failure(failed, signal, results.status, **QUIET)
    drawn = finished.success(reveal, last_run, [results.empty, *results.of_a_run], **QUIET).success(
        draw, last_run, [results.frames, results.chart, results.time, results.cost], **QUIET
    )
    kept = [results.report_file, results.trace_file, results.sheet_file, results.code, results.link]
    drawn.success(keep, [last_run, results.sheet_view], kept, **AT_ONCE).success(None, results.link, results.link, js=FULL_LINK, **QUIET)
    connect_guard(vlm, finished, signal, last_run, clips, guarded, results.note, **ONE_AT_A_TIME)
    asking.stop.click(halt, signal, results.status, **QUIET)
    results.sheet_view.input(sheet, [last_run, results.sheet_view], results.sheet_file, trigger_mode="always_last", **QUIET)


def connect_knobs(vlm, asking: Asking, controls: dict[str, Any]) -> None:
    """Knobs that push each other, and the plan that follows every one of them. What is being dragged is never written to."""
    merge_ratio, l1, l2, *others = (controls[name] for name in knobs.PLANNED)
    planned_by = [asking.question, merge_ratio, l1, l2, *others]
    preset, plan = controls["preset"], controls["plan"]

    def planned(question, *values):
        return knobs.plan(vlm, question, *values), knobs.name_of(vlm, *values[:3])

    def moved_l1(question, merge_ratio, l1, l2, *rest):
        l2 = knobs.follow_l1(l1, l2)
        return *planned(question, merge_ratio, l1, l2, *rest), l2

    def moved_l2(question, merge_ratio, l1, l2, *rest):
        l1 = knobs.follow_l2(l1, l2)
        return *planned(question, merge_ratio, l1, l2, *rest), l1

    def chosen(question, name, *rest):
        values = knobs.follow_preset(vlm, name)
        return *values, knobs.plan(vlm, question, *values, *rest)

    following = {**QUIET, "trigger_mode": "always_last"}
    frames = controls["num_frames"]  # an example sets it too
    turned = [merge_ratio.input, *(other.change if other is frames else other.input for other in others), asking.question.change]
    gr.on(turned, planned, planned_by, [plan, preset], **following)
    l1.input(moved_l1, planned_by, [plan, preset, l2], **following)
    l2.input(moved_l2, planned_by, [plan, preset, l1], **following)
    preset.input(chosen, [asking.question, preset, *others], [merge_ratio, l1, l2, plan], **following)
    damping, restart = controls["damping"], controls["restart"]
    restart.input(knobs.follow_restart, [restart, damping], damping, **following)
    damping.input(knobs.follow_damping, [damping, restart], restart, **following)


def connect_link(demo: gr.Blocks, vlm, requested: dict[str, Any], controls: dict[str, Any], results: Results, examples: Path) -> None:
    """What the address asks for, when the page opens."""
    names = ("video", "question", *KNOBS)

    def follow(request: gr.Request):
        values, remark = restore(dict(request.query_params), vlm, examples)
        shown = [values.get(name, gr.skip()) for name in names]
        if not values and not remark:
            return *shown, gr.skip(), gr.skip(), gr.skip()
        setting = [(knobs.defaults(vlm) | values)[name] for name in knobs.PLANNED]
        plan = knobs.plan(vlm, values.get("question"), *setting)
        return *shown, plan, knobs.name_of(vlm, *setting[:3]), handlers.status(f"Restored from the link. {remark}".strip())

    demo.load(follow, None, [*(requested[name] for name in names), controls["plan"], controls["preset"], results.status], **QUIET)


def _outputs(screen: Screen) -> list:
    values = [screen.answer, screen.note, screen.full_answer, screen.figures, screen.run, screen.clips]
    return [screen.status, *(gr.skip() if value is None else value for value in values)]
