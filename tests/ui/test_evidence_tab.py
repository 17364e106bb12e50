"""The Evidence tab: everything the file says is on the page, and without the file a hint."""

import json

import gradio as gr
import pytest

from aim.evaluation.findings import AS_GOOD, BETTER, Check, judge
from aim.runtime.weights import EARLIER
from aim.shapes.model import build_model
from aim.ui.tabs.evidence import BADGES, Evidence, heading, introduction, tables
from tests.evaluation.made_up import BAD, GOOD, LUCKY, made_up, made_up_board, one


@pytest.fixture(scope="module")
def report():
    finding = one([Check("<good> against bad", GOOD, BAD, BETTER, told=True), Check("unlucky", LUCKY, GOOD, AS_GOOD)])
    judged = judge(finding, made_up(build_model().config))
    return {"weights": "0", "split": "test", "clips": 40, "findings": [judged, {**judged, "number": 10}]}


def components(file, board):
    """What the findings' file and the board's make the tab show."""
    with gr.Blocks() as page:
        Evidence(file, board).build(None)
    shown = [block for block in page.blocks.values() if isinstance(block, gr.HTML | gr.Plot | gr.Dataframe)]
    return [(type(block).__name__, block.value) for block in shown]


def test_each_finding_has_a_heading_a_chart_and_its_tables(report, tmp_path):
    file = tmp_path / "findings.json"
    file.write_text(json.dumps(report))
    kinds = [kind for kind, _ in components(file, tmp_path / "none.json")]
    assert kinds == ["HTML"] + ["HTML", "Plot", "HTML"] * 2 + ["HTML"]


def test_without_the_file_a_hint_says_how_to_get_it(tmp_path):
    findings, board = components(tmp_path / "none.json", tmp_path / "none.json")
    assert findings[0] == "HTML" and "python -m aim eval --findings --write" in findings[1]
    assert board[0] == "HTML" and "python -m aim eval --board --write" in board[1]


def test_the_board_is_a_table_that_sorts_and_a_chart_under_what_it_does_not_say(tmp_path):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(made_up_board(build_model().config)))
    _, (_, introduction), (chart, _), _, (kind, table), _ = components(tmp_path / "none.json", file)
    assert "synthetic world" in introduction and "small model" in introduction and EARLIER in introduction
    assert chart == "Plot" and kind == "Dataframe"
    rows = {row[0]: dict(zip(table["headers"], row, strict=True)) for row in table["data"]}
    assert rows["aim"]["correct %"] == 90.0 and rows["aim"]["against pool"].startswith("better +30.0")
    assert rows["fewerframes"]["FLOPs"] == "– (most 1.9x)"


def test_texts_are_escaped_and_the_verdict_has_its_badge(report):
    finding = report["findings"][0]
    html = heading(finding) + tables(finding)
    assert "Claim &lt;i&gt;" in html and "a &lt;b&gt;" in html and "&lt;good&gt; against bad" in html
    assert "<i>" not in html and "<b>" not in tables(finding)
    assert finding["verdict"] == "holds partly" and BADGES["holds partly"] in html
    assert "+30.0" in html and "−15.0" in html and "python -m aim eval --findings 9" in html
    assert "400 questions" in introduction(report) and "40 held-out clips" in introduction(report)
