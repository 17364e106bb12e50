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
def finished(context, app):
    """A tab in which the first example has run, beside the full model."""
    from tests.visitor import Visitor

    visitor = Visitor(context, app)
    visitor.run()
    visitor.link()
    yield visitor
    visitor.close()
    assert visitor.complaints == []


def test_both_answers_stand_side_by_side_with_what_was_measured_and_modelled(finished):
    assert finished.answer() == examples()[0]["answer"]
    assert finished.text(".aim-verdict") == "✓ same as the full model"
    finished.open("Cost")
    assert "Both give the same answer." in finished.text("#cost")
    rows = finished.tab.locator("#cost .aim-compare tbody tr")
    table = {row[0]: row[1:] for row in rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")}
    assert set(table) == {"prefill", "first word", "tokens a second", "peak memory", "KV cache"}
    for name in ("prefill", "first word", "peak memory", "KV cache"):
        assert all(re.match(r"[\d.,]+ ", cell) for cell in table[name][:2]), table[name]
    assert re.fullmatch(r"[\d.]+×", table["prefill"][3])
    assert table["KV cache"][2] == table["KV cache"][3] != "1.0×"  # the cache's own bytes agree with the model


def test_the_layers_tab_gives_exact_numbers_where_it_is_pointed_at(finished):
    record = json.loads(finished_record(finished))
    visual, text = record["tokens_per_layer"][0]
    assert finished.bars(first=visual) == [pair[0] for pair in record["tokens_per_layer"]]
    layer = finished.tab.locator("#layers .aim-curve .hit").first
    layer.hover()
    told = finished.tab.locator("#layers .aim-curve g:hover .tip text")
    assert told.first.text_content() == f"Layer 0: {visual} visual + {text} text tokens"
    assert told.first.is_visible() and told.nth(1).text_content().startswith("importance: median")


def test_the_cost_tab_sets_modelled_beside_measured_overhead_included(finished):
    finished.open("Cost")
    rows = finished.tab.locator("#cost .aim-costs tbody tr")
    rows = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    table = {row[0].split("\n")[0]: row[1:] for row in rows}
    for stage in ("vision tower", "merging", "importance", "LLM prefill"):
        assert re.match(r"[\d.]+ [TGMk]", table[stage][0]) and re.match(r"[\d.]+ (s|ms|µs)|reused", table[stage][1]), table[stage]
    head = finished.text("#cost .aim-costs thead")
    assert "modelled" in head and "measured" in head


def test_the_moments_tab_shows_the_run(finished):
    finished.open("Moments")
    finished.tab.locator("#timeline [data-ready] canvas").first.wait_for()


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
