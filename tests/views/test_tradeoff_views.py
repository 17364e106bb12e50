"""What tuning found, drawn: the chart's points and lines, the table's order and escaping, and the answers of a spent saving."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from aim.methods import AIM, Full
from aim.runtime.vlm import Answer
from aim.tuning.budget import Budget
from aim.tuning.outcome import Tried, Tuned
from aim.views.tradeoff import bent, outcome, progress, ranked, spent_table, tradeoff_chart, tried_table
from tests.fakes import COST, TIMINGS, make_trace


def tried(label: str, teraflops: float, divergence: float | None, first: float = 0.0, within: bool = True, **changes) -> Tried:
    cost = {**COST, "prefill_tflops": teraflops, "kv_bytes": round(1e6 * teraflops), "speedup": 8 / teraflops}
    values = {
        "method": AIM(l1=1, l2=3),
        "frames": 8,
        "cost": cost,
        "within_budget": within,
        "divergence": divergence,
        "first_divergence": first,
        "prefill_seconds": teraflops / 10,
        "rejected": divergence is None,
        "label": label,
    }
    return Tried(**values | changes)


FULL = tried("full model", 8.0, 0.0, within=False, method=Full())
PAPER, CHOSEN = tried("paper", 1.5, 0.2), tried("chosen", 2.0, 0.01)
CHEAP, WORSE = tried("cheap", 0.5, 3.0), tried("worse", 1.8, 0.3)
DEAR, GIVEN_UP = tried("dear", 4.0, 0.001, within=False), tried("given up", 1.0, None, first=5.0)
TUNED = Tuned(
    budget=Budget.parse("4x"),
    limit=2.0,
    tried=(FULL, PAPER, GIVEN_UP, CHOSEN, CHEAP, WORSE, DEAR),
    chosen=CHOSEN,
    preset=PAPER,
    reference="full model",
    prefills=7,
    complete=True,
)


def traces(tuned: Tuned) -> dict:
    return {trace.name: trace for trace in tradeoff_chart(tuned).data}


def test_every_tried_setting_is_a_point_and_those_given_up_are_hollow():
    drawn = traces(TUNED)
    assert list(drawn["tried"].x) == [8.0, 1.5, 2.0, 0.5, 1.8, 4.0]
    assert list(drawn["tried"].y) == pytest.approx([bent(kl) for kl in (0, 0.2, 0.01, 3, 0.3, 0.001)])
    assert list(drawn["stopped early"].x) == [1.0] and drawn["stopped early"].marker.symbol.endswith("open")
    assert list(drawn["stopped early"].y) == [bent(5.0)]


def test_the_chosen_the_papers_the_reference_and_the_budget_have_their_own_marks():
    drawn = traces(TUNED)
    assert [list(drawn[name].x) for name in ("chosen", "paper's", "reference")] == [[2.0], [1.5], [8.0]]
    assert drawn["chosen"].marker.symbol == "star"
    assert list(drawn["budget"].x) == [2.0, 2.0]
    assert "chosen" not in traces(replace(TUNED, chosen=None))


def test_the_front_falls_as_cost_rises_and_no_measured_point_lies_below_it():
    front = traces(TUNED)["best at each cost"]
    assert list(front.x) == [tried.cost["prefill_tflops"] for tried in TUNED.front()]
    points = list(zip(front.x, front.y, strict=True))
    assert points == sorted(points) and list(front.y) == sorted(front.y, reverse=True)
    for shown in TUNED.tried:
        if not shown.rejected:
            reached = min(y for x, y in points if x <= shown.cost["prefill_tflops"])
            assert bent(shown.divergence) >= reached


@pytest.mark.parametrize(("written", "limit", "place"), [("2 MB", 2.0, 2.0), ("200 ms", 200.0, 200.0), ("2 TFLOP", 2.0, 2.0)])
def test_the_axis_is_what_the_budget_limits(written, limit, place):
    tuned = replace(TUNED, budget=Budget.parse(written), limit=limit)
    drawn = traces(tuned)
    assert list(drawn["chosen"].x) == pytest.approx([place]) and list(drawn["budget"].x) == [limit, limit]
    title = tradeoff_chart(tuned).layout.xaxis.title.text
    assert {"MB": "KV cache", "ms": "measured", "TFLOP": "FLOPs"}[written.split()[1]] in title


def test_the_settings_have_the_width_and_what_the_reference_costs_is_told():
    tight = replace(TUNED, tried=(FULL, tried("a", 0.19, 0.2), tried("b", 0.2, 0.1)), limit=0.2, chosen=None, preset=None)
    axis = tradeoff_chart(tight).layout.xaxis
    low, high = (10**place for place in axis.range)
    assert low < 0.19 and 0.2 < high < 0.3 and "8.00 T" in axis.title.text
    assert not traces(tight)["reference"].showlegend
    assert len(set(axis.ticktext)) >= 3 and all(low < tick < high for tick in axis.tickvals)
    alone = tradeoff_chart(replace(tight, tried=(FULL,))).layout.xaxis
    assert alone.range[0] < 0.9 < alone.range[1]


def test_the_axis_of_divergence_has_a_place_for_none_and_keeps_the_order():
    values = [0, 1e-9, 1e-4, 1e-3, 0.5, 20]
    assert bent(0) == 0 and [bent(value) for value in values] == sorted(bent(value) for value in values)
    figure = tradeoff_chart(replace(TUNED, tried=(FULL,), chosen=None, preset=None))
    low, high = figure.layout.yaxis.range
    assert low < 0 < high


def test_the_table_begins_with_the_best_and_ends_with_what_was_given_up():
    order = [TUNED.tried[place].label for place in ranked(TUNED)]
    assert order == ["chosen", "paper", "worse", "cheap", "full model", "dear", "given up"]
    html = tried_table(TUNED)
    assert [TUNED.tried[int(place)].label for place in re.findall(r'data-place="(\d+)"', html)] == order
    assert html.count("<button") == len(TUNED.tried) and html.count('class="aim-chosen"') == 1
    assert html.count("over the budget") == 1  # the reference is told apart
    assert html.count("the paper&#x27;s") == 1


def test_labels_and_answers_are_no_markup():
    hostile = replace(CHOSEN, label="<img src=x>")
    assert "<img" not in tried_table(replace(TUNED, tried=(hostile,), chosen=hostile))
    answer = Answer(text="<script>1</script>", trace=make_trace(), cost=COST, timings=TIMINGS)
    assert "<script" not in spent_table(answer, answer)


def test_the_status_line_counts_prefills_and_says_how_it_ended():
    assert progress(replace(TUNED, complete=False), 24).startswith("7 of at most 24 prefills")
    assert outcome(TUNED).startswith("Done: chosen, KL 0.0100")
    assert outcome(replace(TUNED, complete=False)).startswith("Stopped: chosen")
    assert "no setting within the budget" in outcome(replace(TUNED, chosen=None))


def test_a_spent_saving_shows_frames_flops_and_times_of_both():
    reduced = Answer(text="red", trace=make_trace(), cost=COST, timings={**TIMINGS, "vision_tower": 0.25})
    html = spent_table(Answer(text="blue", trace=make_trace(), cost={**COST, "prefill_tflops": 0.01}, timings=TIMINGS), reduced)
    full_row, reduced_row = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html)
    assert "blue" in full_row and "10.0 G" in full_row and "reused" in full_row
    assert "red" in reduced_row and "2.00 G" in reduced_row and "250 ms" in reduced_row and "23.0 ms" in reduced_row
