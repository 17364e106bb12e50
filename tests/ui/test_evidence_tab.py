"""The Evidence tab: everything the file says is on the page, and without the file a hint."""

import json

import gradio as gr
import pytest

from aim.evaluation.findings import AS_GOOD, BETTER, Check, judge
from aim.shapes.model import build_model
from aim.ui.tabs.evidence import BADGES, Evidence, heading, introduction, tables
from tests.evaluation.made_up import BAD, GOOD, LUCKY, made_up, one


@pytest.fixture(scope="module")
def report():
    finding = one([Check("<good> against bad", GOOD, BAD, BETTER, told=True), Check("unlucky", LUCKY, GOOD, AS_GOOD)])
    judged = judge(finding, made_up(build_model().config))
    return {"weights": "0", "split": "test", "clips": 40, "findings": [judged, {**judged, "number": 10}]}


def components(file):
    with gr.Blocks() as page:
        Evidence(file).build(None)
    return [(type(block).__name__, block.value) for block in page.blocks.values() if isinstance(block, gr.HTML | gr.Plot)]


def test_each_finding_has_a_heading_a_chart_and_its_tables(report, tmp_path):
    file = tmp_path / "findings.json"
    file.write_text(json.dumps(report))
    kinds = [kind for kind, _ in components(file)]
    assert kinds == ["HTML"] + ["HTML", "Plot", "HTML"] * 2


def test_without_the_file_a_hint_says_how_to_get_it(tmp_path):
    [(kind, text)] = components(tmp_path / "none.json")
    assert kind == "HTML" and "python -m aim eval --findings --write" in text


def test_texts_are_escaped_and_the_verdict_has_its_badge(report):
    finding = report["findings"][0]
    html = heading(finding) + tables(finding)
    assert "Claim &lt;i&gt;" in html and "a &lt;b&gt;" in html and "&lt;good&gt; against bad" in html
    assert "<i>" not in html and "<b>" not in tables(finding)
    assert finding["verdict"] == "holds partly" and BADGES["holds partly"] in html
    assert "+30.0" in html and "−15.0" in html and "python -m aim eval --findings 9" in html
    assert "400 questions" in introduction(report) and "40 held-out clips" in introduction(report)
