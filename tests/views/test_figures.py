"""The chart, the stages, the cards, the tables and the plan, on a trace made by hand."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from aim.runtime.vlm import Answer
from aim.views.costs import cost_table
from aim.views.curve import score_quantiles
from aim.views.figures import card, comparison, figures, first_word, steps, tokens_per_second
from aim.views.planned import in_words, plan_panel
from aim.views.units import fewer, flops, number, seconds, size, smaller, times
from tests.fakes import COST, TIMINGS, FakeVlm, make_trace

VISION = {"decode_video": 0.1, "preprocess": 0.01, "vision_tower": 0.2}


def make_answer(text: str = "circle", **changes) -> Answer:
    return replace(Answer(text=text, trace=make_trace(), timings=VISION | TIMINGS, cost=COST, new_tokens=3), **changes)


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_scores_are_quantiles_of_the_survivors():
    quantiles = score_quantiles(make_trace())
    assert list(quantiles) == [1, 2] and np.allclose(quantiles[2], [0.1, 0.15, 0.2, 0.25, 0.3])
    assert score_quantiles(make_trace(scored=False)) == {}


def test_stages_are_done_with_their_times_reused_running_or_still_to_come():
    shown = words(steps({"merge": 0.001, "llm_prefill": 0.02, "importance": 0.002}, reused=("read video", "vision"), running="answer"))
    assert shown == "read video reused vision reused merge 1.00 ms prefill 22.0 ms answer"
    assert steps({}, running="read video").count("aim-step-now") == 1
    assert "vision 210 ms" in words(steps(VISION))


def test_the_cards_say_what_is_modelled_and_what_is_measured():
    shown = words(figures(make_answer()))
    assert "Visual tokens counted 12 → 6 none in the last layers; by then the text has absorbed them" in shown
    assert "LLM prefill FLOPs modelled 5.0× fewer 2.00 G instead of 10.0 G, without the vision tower" in shown
    assert "KV cache modelled 4.0× smaller 2.00 kB instead of 8.00 kB" in shown
    assert "First word measured 30.0 ms" in shown


def test_scores_only_looked_at_are_not_counted_against_the_method():
    timings = TIMINGS | {"inspection": 0.009}
    looked = make_answer(timings=timings, trace=replace(make_trace(), timings=timings))
    assert looked.trace.prefill_seconds == pytest.approx(0.023)
    assert first_word(looked) == pytest.approx(0.021)
    assert "prefill 23.0 ms 23.0 ms 1.0×" in words(comparison(looked, looked))


def test_a_speed_is_told_only_where_there_is_one():
    assert tokens_per_second(make_answer()) == pytest.approx(200)
    assert tokens_per_second(make_answer(new_tokens=1)) is None
    assert tokens_per_second(make_answer(timings={})) is None


def test_two_runs_side_by_side_give_the_measured_beside_the_modelled_ratio():
    trace = make_trace()
    trace.key_value_bytes, trace.peak_memory_bytes = 8000, 600_000_000
    trace.timings = {"llm_prefill": 0.092, "first_token": 0.09, "decode": 0.02}
    full = make_answer("Circle ", trace=trace, timings=trace.timings)
    shown = words(comparison(make_answer(), full))
    assert "Both give the same answer." in shown
    assert "prefill 23.0 ms 92.0 ms 4.0× 5.0×" in shown
    assert "first word 30.0 ms 90.0 ms 3.0× –" in shown
    assert "tokens a second 200 100 2.0× –" in shown
    assert "peak memory 300 MB 600 MB 2.0× –" in shown
    assert "KV cache 2.00 kB 8.00 kB 4.0× 4.0×" in shown
    assert "The answers differ." in comparison(make_answer(), make_answer("star"))


def test_the_cost_table_hides_no_overhead():
    shown = words(cost_table(make_answer()))
    for row in (
        "read the video – 100 ms",
        "vision tower 3.00 G 200 ms",
        "merging overhead 1.00 M 1.00 ms",
        "importance overhead 2.00 M 2.00 ms",
        "LLM prefill the paper's figure 2.00 G 20.0 ms",
        "further words 3.00 M 10.0 ms",
    ):
        assert row in shown
    assert "extra scores, display only" not in shown
    assert "Total 5.01 G 343 ms" in shown


def test_the_cost_table_says_what_was_reused_and_what_was_only_looked_at():
    shown = words(cost_table(make_answer(timings=TIMINGS | {"inspection": 0.5}, features_reused=True)))
    assert "vision tower 3.00 G reused" in shown and "extra scores, display only not part of the method – 500 ms" in shown


def test_texts_are_escaped():
    assert "<script>" not in card("<script>", "<script>", "<script>", "<script>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(0.0012345), "0.00123"),
        (number(9.996), "10.0"),
        (number(1234.5), "1,234"),
        (number(0), "0"),
        (flops(99.63), "99.6 T"),
        (flops(0.00025), "250 M"),
        (flops(0.9999), "1.00 T"),
        (size(338_000), "338 kB"),
        (size(0), "0 B"),
        (seconds(0.0421), "42.1 ms"),
        (seconds(72), "72.0 s"),
        (times(6.75), "6.8×"),
        (times(120.4), "120×"),
        (times(0.314), "0.31×"),
    ],
)
def test_numbers_have_three_digits_and_a_fitting_unit(text, expected):
    assert text == expected


def test_the_plan_is_told_in_figures_a_curve_and_words():
    plan = FakeVlm().plan(4, 20, make_answer().method)
    html = plan_panel(plan, 24)
    assert "24 → 24 visual tokens. Layers 0–3 see all 24. 5.0× fewer FLOPs (2.00 G) · KV cache 4.0× smaller modelled" in words(html)
    assert html.count("24 visual + 20 text tokens") == 4
    marked = plan_panel(plan, 24, ramp=(1, 3), scores={2: np.array([0.0, 0.1, 0.2, 0.3, 0.4])})
    assert "l1 = 1" in marked and "l2 = 3" in marked and "importance: median 2.0e-01, quartiles 1.0e-01 to 3.0e-01" in marked


def test_as_many_flops_as_the_full_model_are_not_called_fewer():
    assert fewer(1.0) == "as many FLOPs as the full model" and fewer(4.14) == "4.1× fewer FLOPs"
    assert smaller(1.02) == "as large as the full model's" and smaller(2) == "2.0× smaller"


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
