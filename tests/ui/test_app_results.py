"""What a visitor sees and takes home after a run: the comparison, the tabs, files, code and link."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest
from PIL import Image

from tests.visitor import examples, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def finished(browser, app):
    """A tab in which the first example has run, beside the full model."""
    from tests.visitor import Visitor

    visitor = Visitor(browser, app)
    visitor.tab.locator("#compare input").check()
    visitor.run()
    visitor.link()
    yield visitor
    visitor.context.close()
    assert visitor.complaints == []


def test_both_answers_stand_side_by_side_with_what_was_measured_and_modelled(finished):
    full = finished.tab.locator("#full-answer textarea").input_value()
    assert finished.answer() == examples()[0]["answer"] and full
    assert ("Both give the same answer." in finished.text("#figures")) == (full == finished.answer())
    rows = finished.tab.locator("#figures tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    table = {row[0]: row[1:] for row in rows}
    assert set(table) == {"prefill", "first word", "tokens a second", "peak memory", "KV cache"}
    for name in ("prefill", "first word", "peak memory", "KV cache"):
        assert all(re.match(r"[\d.,]+ ", cell) for cell in table[name][:2]), table[name]
    assert re.fullmatch(r"[\d.]+×", table["prefill"][3])
    assert table["KV cache"][2] == table["KV cache"][3] != "1.0×"  # the cache's own bytes agree with the model
    boxes = [finished.tab.locator(place).bounding_box() for place in ("#answer", "#full-answer")]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]


def test_the_layers_tab_gives_exact_numbers_on_hover(finished):
    record = json.loads(finished_record(finished))
    visual, text = record["tokens_per_layer"][0]
    bars = finished.bars(first=visual)
    assert bars == [pair[0] for pair in record["tokens_per_layer"]]
    bar = finished.tab.locator("#chart .barlayer .point").first
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    finished.tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    hover = finished.tab.locator("#chart .hoverlayer")
    hover.filter(has_text="layer 0").wait_for()
    shown = hover.text_content()
    assert f"{visual} visual tokens" in shown and f"{text} text tokens" in shown and f"{visual + text} planned in all" in shown
    assert "PageRank" in shown and "quartiles" in shown and "range" in shown


def test_the_cost_tab_sets_modelled_beside_measured_overhead_included(finished):
    finished.open("Cost")
    rows = finished.tab.locator("#cost tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    table = {row[0].split("\n")[0]: row[1:] for row in rows}
    for stage in ("vision tower", "merging", "importance", "LLM prefill"):
        assert re.match(r"[\d.]+ [TGMk]", table[stage][0]) and re.match(r"[\d.]+ (s|ms|µs)|reused", table[stage][1]), table[stage]
    assert "modelled" in finished.text("#cost thead") and "measured" in finished.text("#cost thead")


def test_the_frames_and_moments_tabs_show_the_run(finished):
    for name, place in (("Frames", "#explorer canvas"), ("Moments", "#timeline canvas")):
        finished.open(name)
        finished.tab.locator(place).first.wait_for()


def finished_record(visitor) -> str:
    visitor.open("Export")
    return visitor.download("#trace").read_text()


def test_the_trace_is_the_whole_record(finished):
    record = json.loads(finished_record(finished))
    assert record["answer"] == finished.answer() and record["model"] == "bundled"
    assert len(record["trace"]["survivors"]) == len(record["tokens_per_layer"])


def test_the_report_opens_offline_and_shows_the_run(finished, browser):
    finished.open("Export")
    path = finished.download("#report")
    page = browser.new_context(offline=True).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    target = path.with_suffix(".html")
    target.write_bytes(path.read_bytes())
    page.goto(target.as_uri())
    assert examples()[0]["answer"] in page.inner_text("body") and examples()[0]["question"] in page.inner_text("body")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    page.context.close()


def test_the_sheet_shows_the_frames_in_the_chosen_view(finished):
    finished.open("Export")

    def sheet():
        with Image.open(io.BytesIO(finished.download("#sheet").read_bytes())) as picture:
            assert picture.format == "PNG" and picture.width > 600 and picture.height > 300
            return picture.tobytes()

    first = sheet()
    finished.tab.locator("#sheet-view").get_by_label("Survival").check()
    for _ in range(40):  # the button gets its new file a moment after the click
        if sheet() != first:
            break
        finished.tab.wait_for_timeout(250)
    assert sheet() != first


def test_the_code_gives_the_same_run(finished):
    finished.open("Export")
    code = finished.text("#code .cm-content")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "copied", "exec"), {})
    record = json.loads(finished_record(finished))
    answer, layers = said.getvalue().strip().splitlines()
    assert answer == record["answer"]
    assert layers == str([tuple(pair) for pair in record["tokens_per_layer"]])


def test_a_link_restores_example_question_and_knobs_in_another_tab(visit):
    visitor = visit()
    visitor.pick_example(2)
    visitor.question.fill("what shape is blue & why?")
    visitor.set("merge-ratio", 0.5)
    visitor.set("l1", 3)
    visitor.set("frames", 6)
    visitor.run()
    link = visitor.link()
    other = visit(query=link.removeprefix(visitor.address))
    other.wait_for_status("Restored from the link.")
    assert other.question.input_value() == "what shape is blue & why?"
    assert [other.knob(knob) for knob in ("merge-ratio", "l1", "frames")] == [0.5, 3, 6]
    other.wait_for_video(examples()[2]["file"])
    assert visitor.text("#plan") == other.text("#plan")
    other.run()
    assert other.answer() == visitor.answer()


def test_a_link_that_cannot_be_followed_says_so_and_leaves_a_usable_page(visit):
    visitor = visit(query="?example=nope.mp4&merge_ratio=9&model=other")
    visitor.wait_for_status("This app has no such value for: example, merge_ratio.")
    visitor.run()
    assert visitor.answer() == examples()[0]["answer"]
