"""The report as whoever gets it by mail sees it: one file, opened from the disk, with no network and no server."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import aim
from aim.runtime.vlm import Answer
from aim.views.report import write_report
from tests.fakes import COST
from tests.made_run import leave_out, make_run
from tests.visitor import PATIENCE, needs_browser

QUESTION = "which <b>shape</b> & when?</script><script>document.title = 'broken in'</script>"
PLAN = aim.plan("llava-onevision-qwen2-7b", num_frames=5, text_tokens=9)


def answer_of(run) -> Answer:
    timings = {"decode_video": 0.4, "vision_tower": 0.3, "merge": 0.01, "importance": 0.02, "llm_prefill": 0.2, "first_token": 0.3}
    cost = {**COST, "decode_tflops": 1e-5}
    return Answer(text="a <i>red</i> circle", model="a/model", method=aim.AIM(), trace=run.trace, timings=timings, cost=cost, new_tokens=3)


@pytest.fixture(scope="module")
def run():
    return make_run()


@pytest.fixture
def opened(browser, run, tmp_path):
    """The report in a tab; at the end nothing may have been asked for but the file itself, and nothing complained about."""
    path = write_report(answer_of(run), run, PLAN, tmp_path, question=QUESTION, python="print('<hello>')", full=answer_of(run))
    context = browser.new_context(viewport={"width": 400, "height": 900}, color_scheme="dark")
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    requests, complaints = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda entry: complaints.append(entry.text) if entry.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(path.as_uri())
    tab.locator("#frames [data-ready]").wait_for()
    tab.locator("#time [data-ready]").wait_for()
    yield tab
    context.close()
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert complaints == []


@needs_browser
def test_question_answer_and_code_are_shown_as_the_text_they_are(opened):
    assert opened.locator(".report-question").inner_text() == QUESTION
    assert opened.locator(".report-answer").inner_text() == "a <i>red</i> circle"
    assert opened.locator("pre").inner_text() == "print('<hello>')"
    assert opened.title() == "AIM report"


@needs_browser
def test_it_says_what_was_run_and_what_is_modelled(opened):
    text = opened.locator("main").inner_text()
    for part in ("a/model", "merge ratio 0.25", "modelled", "measured", "200 ms", "Beside the full model"):
        assert part in text


@needs_browser
def test_its_explorer_scrubs_on_a_phone_in_the_dark(opened, run):
    assert opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    large = opened.locator("#frames .aim-x-large")
    before = large.evaluate("canvas => canvas.toDataURL()")
    opened.get_by_role("slider", name="Layer").fill("5")
    opened.locator("#frames .aim-x-sheet[aria-busy=false]").wait_for()
    assert large.evaluate("canvas => canvas.toDataURL()") != before
    shown = int(opened.get_by_role("slider", name="Frame").input_value())
    left = len(set(run.trace.assignment[shown].tolist()) & set(run.trace.survivors[5].tolist()))
    assert f"{left} of " in opened.locator("#frames .aim-x-caption").inner_text()
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert np.mean([int(part) for part in re.findall(r"\d+", background)]) < 64


@needs_browser
def test_patches_dropped_before_the_language_model_are_told_apart_in_every_part(browser, tmp_path):
    run = leave_out(make_run(seed=4))
    assignment, survivors = run.trace.assignment, run.trace.survivors
    tab = browser.new_page(viewport={"width": 1000, "height": 900})
    tab.set_default_timeout(PATIENCE)
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(write_report(answer_of(run), run, PLAN, tmp_path).as_uri())
    tab.locator("#frames [data-ready]").wait_for()
    tab.get_by_role("slider", name="Frame").fill("1")
    tab.locator("#frames .aim-x-sheet[aria-busy=false]").wait_for()
    own = set(assignment[1].tolist()) - {-1}
    assert tab.locator("#frames .aim-x-caption").inner_text() == f"Frame 2 at 0:00.8: 28 patches in {len(own)} tokens"
    assert "dropped before the language model" in tab.locator("#frames .aim-x-legend").inner_text()

    large = tab.locator("#frames .aim-x-large")
    box = large.bounding_box()
    for patch in (int((assignment[1] == -1).nonzero()[0]), int((assignment[1] >= 0).nonzero()[0])):
        row, column = divmod(patch, 7)
        large.click(position={"x": (column + 0.5) * box["width"] / 7, "y": (row + 0.5) * box["height"] / 4})
        said = tab.locator("#frames .aim-x-said").inner_text()
        token = int(assignment[1, patch])
        size = int((assignment == token).sum())
        merged = "a token of its own" if size == 1 else f"1 of {size} patches in one merged token"
        expected = "dropped before the language model, so it belongs to no token" if token < 0 else merged
        assert said.startswith(f"This patch: {expected}")

    tab.locator("#time .aim-x-heat").focus()
    for _ in range(3):
        tab.keyboard.press("ArrowDown")
    for frame in range(1, 5):
        tab.keyboard.press("ArrowRight")
        entered, left = (len(set(assignment[frame].tolist()) & set(survivors[layer].tolist())) for layer in (0, 3))
        assert f"layer 3: {left} of {entered} token" in tab.locator("#time .aim-x-said").inner_text()
    tab.close()
    assert complaints == []


def test_sixteen_frames_of_a_large_grid_fit_in_three_megabytes(tmp_path):
    run = make_run(frames=16, rows=27, columns=27, kept=(1,) * 14 + tuple(np.linspace(0.95, 0, 14)))
    path = write_report(answer_of(run), run, PLAN, tmp_path)
    assert path.name == "aim-report.html" and path.stat().st_size < 3_000_000


def test_without_question_code_or_plan_their_places_are_left_out(run, tmp_path):
    text = write_report(answer_of(run), run, None, tmp_path).read_text()
    assert "<pre>" not in text and "planned" not in text and "Beside the full model" not in text


def test_an_answer_that_is_not_finished_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="not finished"):
        write_report(replace(answer_of(run), trace=None), run, None, tmp_path)
