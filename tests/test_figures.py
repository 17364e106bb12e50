"""The chart, the cards and the plan, on a trace made by hand."""

import numpy as np
import pytest

from aim.views.charts import layer_chart, score_quantiles
from aim.views.figures import card, figures, flops, in_words, number, plan_line, seconds, size, stage_strip, times
from tests.fakes import COST, make_trace

TIMINGS = {
    "decode_video": 0.1,
    "vision_tower": 0.2,
    "merge": 0.001,
    "importance": 0.002,
    "llm_prefill": 0.03,
    "first_token": 0.04,
    "total": 0.3,
}


def traces_of(figure) -> dict:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_bars_are_the_executed_tokens_and_the_line_is_the_plan():
    trace = make_trace()
    drawn = traces_of(layer_chart(trace, planned=[(6, 5), (5, 5), (4, 5), (0, 5)]))
    assert list(drawn["visual tokens"].y) == [pair[0] for pair in trace.tokens_per_layer]
    assert list(drawn["text tokens"].y) == [pair[1] for pair in trace.tokens_per_layer]
    assert list(drawn["planned"].y) == [11, 10, 9, 5]
    assert drawn["planned"].line.dash == "dot"


def test_scores_are_quantiles_of_the_survivors_on_a_logarithmic_axis_of_their_own():
    trace = make_trace()
    figure = layer_chart(trace)
    scores = next(trace for trace in figure.data if trace.name and trace.name.startswith("PageRank"))
    assert list(scores.x) == [1, 2] and scores.yaxis == "y2" and figure.layout.yaxis2.type == "log"
    assert np.allclose(scores.y, [np.median(trace.scores[1]), 0.2])
    assert np.allclose(scores.customdata[1], [0.1, 0.15, 0.2, 0.25, 0.3])
    assert list(score_quantiles(trace)) == [1, 2]


def test_scores_that_underflow_to_zero_are_drawn_and_told_exactly():
    trace = make_trace()
    trace.scores[1][0] = 0
    scores = next(trace for trace in layer_chart(trace).data if trace.name and trace.name.startswith("PageRank"))
    assert scores.customdata[0][0] == 0
    trace.scores[1][:] = 0
    trace.scores[2][:] = 0
    assert np.isfinite(layer_chart(trace).layout.yaxis2.dtick)


def test_without_scores_there_is_no_second_axis():
    figure = layer_chart(make_trace(scored=False))
    assert "yaxis2" not in figure.layout and "planned" not in traces_of(figure)


def test_the_chart_takes_the_pages_colours():
    layout = layer_chart(make_trace()).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert not layout.template.layout.to_plotly_json()


def test_the_figures_say_what_is_modelled_and_what_is_measured():
    html = figures(1568, 392, COST, TIMINGS, reused=False)
    for text in (
        "1,568 → 392",
        "25% kept",
        "5.0× less",
        "2.00 GFLOP instead of 10.0 GFLOP",
        "4.0× smaller",
        "30.0 ms",
        "40.0 ms",
        "modelled",
    ):
        assert text in html
    assert "vision tower <b>200 ms</b> · 3.00 GFLOP" in html  # overhead on a line of its own
    assert "reused" not in html
    assert "vision features reused" in figures(1568, 392, COST, {"llm_prefill": 0.03}, reused=True)


def test_stages_that_were_not_measured_are_left_out():
    assert stage_strip({}, COST) == ""
    assert "vision tower" not in stage_strip({"merge": 0.1}, COST)


def test_texts_are_escaped():
    assert "<script>" not in card("<script>", "<script>", "<script>", "<script>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.0012345), "0.00123"),
        (number(9.996), "10.0"),
        (number(1234.5), "1,234"),
        (number(0), "0"),
        (flops(99.63), "99.6 TFLOP"),
        (flops(0.00025), "250 MFLOP"),
        (flops(0.9999), "1.00 TFLOP"),
        (size(338_000), "338 kB"),
        (size(0), "0 B"),
        (seconds(0.0421), "42.1 ms"),
        (seconds(72), "72.0 s"),
        (times(6.75), "6.8×"),
        (times(120.4), "120×"),
    ],
)
def test_numbers_have_three_digits_and_a_fitting_unit(text, expected):
    assert text == expected


def test_the_plan_in_one_line():
    html = plan_line(288, [(72, 20), (48, 20), (0, 20)], 0.0009, 4.1)
    assert "Plan: 288 → 72 visual tokens" in html and "prefill 900 MFLOP" in html and "4.1× less" in html


@pytest.mark.parametrize(
    ("visual", "words"),
    [
        ([9, 9, 9], "Layers 0–2 see all 9."),
        ([9, 9, 4, 0, 0], "Layers 0–1 see all 9, layer 2 sees fewer and fewer, layers 3–4 see none."),
        ([9, 0], "Layer 0 sees all 9, layer 1 sees none."),
    ],
)
def test_the_plan_in_words(visual, words):
    assert in_words(visual) == words
