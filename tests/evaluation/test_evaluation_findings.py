"""The seven findings: settings that are as equal as the findings say, and verdicts that follow from the rule and the records alone."""

import pytest

import aim
from aim.evaluation.charts import cost_chart, finding_chart
from aim.evaluation.findings import AS_GOOD, BETTER, MARGIN, Check, confirmed, judge, signed, verdict
from aim.evaluation.statistics import Interval
from aim.evaluation.suites import FULL, NEEDLE, OFF, findings, ratio_for, widest
from aim.evaluation.summary import ALL
from aim.evaluation.writing import findings_text, text_of
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_clip
from aim.planning.plan import plan_for
from aim.shapes.model import build_model
from tests.evaluation.made_up import BAD, GOOD, LUCKY, PER_FRAME, made_up, one

LAYERS = 12


@pytest.fixture(scope="module")
def config():
    return build_model().config


@pytest.fixture(scope="module")
def seven(config):
    return {finding.number: finding for finding in findings(config)}


def counts(setting):
    return setting.method.visual_per_layer(LAYERS, setting.frames, PER_FRAME)


def test_there_are_seven_with_few_enough_settings_to_run_and_each_compares_what_it_shows(seven):
    assert list(seven) == [1, 2, 3, 4, 5, 6, 7]
    assert len({setting for finding in seven.values() for setting in finding.settings()}) <= 60
    for finding in seven.values():
        shown = {point.setting for point in finding.points}
        assert {s for check in finding.checks for s in (check.first, check.second)} <= shown
        assert any(check.expected for check in finding.checks) and any(check.told for check in finding.checks)
        assert len({(point.series, point.x) for point in finding.points}) == len(finding.points)


def test_retention_goes_from_everything_to_one_token_a_frame(seven):
    merged = [counts(point.setting)[0] // 8 for point in seven[1].points if point.series == "merging only"]
    assert merged == [49, 24, 12, 6, 3, 1]
    assert all(counts(p.setting) == [counts(p.setting)[0]] * 12 for p in seven[1].points if p.series == "merging only")


def test_dropping_is_compared_without_merging(seven):
    assert all(counts(setting)[0] == 8 * PER_FRAME for number in (2, 4) for setting in seven[number].settings())


def test_more_frames_cost_no_more_than_eight_full_ones_and_nearly_as_much(seven, config):
    reduced = [point.setting for point in seven[3].points if "cost of" in point.series and point.setting.frames > 8]
    assert sorted(setting.frames for setting in reduced) == [16, 16, 32, 32, 64, 64]
    for setting in reduced:
        for text in (6, 13, 30):
            cost = plan_for(config, setting.frames, text, setting.method).prefill_tflops
            budget = plan_for(config, 8, text, aim.Full()).prefill_tflops
            assert 0.8 * budget < cost <= budget
    assert {check.kind for check in seven[3].checks} == {NEEDLE, ALL}


def test_one_token_a_frame_more_would_not_fit(config):
    for frames in (16, 32, 64):
        kept = widest(config, frames, **OFF).method.merged_tokens(1, PER_FRAME)
        wider = aim.AIM(merge_ratio=ratio_for(kept + 1, PER_FRAME), **OFF)
        assert wider.merged_tokens(1, PER_FRAME) == kept + 1
        assert plan_for(config, frames, 4, wider).prefill_tflops > plan_for(config, 8, 4, aim.Full()).prefill_tflops


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_what_is_compared_at_equal_counts_has_equal_counts_in_every_layer(seven, number):
    for check in seven[number].checks:
        assert counts(check.first) == counts(check.second), check.label


@pytest.mark.parametrize("kept", range(1, PER_FRAME + 1))
def test_a_ratio_for_so_many_tokens_a_frame_leaves_as_many_times_more_of_a_window(kept):
    for window in (1, 2, 4, 8):
        assert merged_per_clip(ratio_for(kept, PER_FRAME), 8, PER_FRAME, window) == 8 * kept


def test_a_model_of_another_depth_is_refused():
    from tests.tiny import llava_onevision

    with pytest.raises(Refusal, match="has 6 layers"):
        findings(llava_onevision(layers=6).config)


@pytest.mark.parametrize(
    ("expected", "low", "is_confirmed"),
    [
        (BETTER, 0.001, True),
        (BETTER, 0.0, False),
        (BETTER, -0.001, False),
        (AS_GOOD, -MARGIN / 2, True),
        (AS_GOOD, 0.01, True),
        (AS_GOOD, -MARGIN, False),
        (AS_GOOD, -0.1, False),
    ],
)
def test_a_check_is_confirmed_by_the_lower_end_of_its_interval(expected, low, is_confirmed):
    assert confirmed(expected, Interval(low + 0.05, low, low + 0.1)) is is_confirmed


def test_all_checks_some_or_none_make_the_verdict():
    assert verdict([True, True]) == "holds"
    assert verdict([True, False]) == "holds partly"
    assert verdict([False, False]) == "does not hold here"


def test_differences_are_told_with_a_true_sign():
    assert [signed(value) for value in (0.0312, -0.0312, 0.0)] == ["+3.1", "−3.1", "+0.0"]


def test_a_verdict_follows_from_the_records(config):
    evaluation = made_up(config)
    holds = judge(one([Check("good against bad", GOOD, BAD, BETTER, told=True), Check("as good", GOOD, LUCKY, AS_GOOD)]), evaluation)
    assert holds["verdict"] == "holds" and holds["questions"] == 400
    assert holds["checks"][0]["difference"] == pytest.approx(0.3) == holds["checks"][0]["low"]
    assert holds["sentence"] == "2 of 2 checks confirmed. Accuracy: good against bad +30.0 points (+30.0 to +30.0)."
    partly = judge(one([Check("", GOOD, BAD, BETTER), Check("", BAD, GOOD, AS_GOOD), Check("", BAD, GOOD, None)]), evaluation)
    assert partly["verdict"] == "holds partly" and [check["confirmed"] for check in partly["checks"]] == [True, False, None]
    assert judge(one([Check("", BAD, GOOD, BETTER), Check("", LUCKY, GOOD, AS_GOOD)]), evaluation)["verdict"] == "does not hold here"


def test_a_check_on_one_type_counts_its_questions_only(config):
    judged = judge(one([Check("", GOOD, BAD, BETTER, "needle")], kinds=("needle", ALL)), made_up(config))
    assert judged["checks"][0]["difference"] == pytest.approx(0.5) and judged["checks"][0]["questions"] == 80
    assert judged["points"][0]["accuracy"]["needle"]["right"] == 0.5 and judged["points"][0]["accuracy"][ALL]["right"] == 0.9


def test_a_summary_counts_by_type_agreement_and_cost(config):
    evaluation = made_up(config)
    summary = evaluation.summary(BAD)
    assert {kind: (row.right, row.questions, row.constant_guess) for kind, row in summary.accuracy.items()} == {
        "colour": (0.75, 320, 1.0),
        "needle": (0.0, 80, 1.0),
        ALL: (0.6, 400, 1.0),
    }
    assert summary.agreement == pytest.approx(0.7)  # both right six times, both wrong once
    assert evaluation.summary(GOOD).agreement == 1.0
    planned = plan_for(config, 8, 13, aim.Full())
    assert summary.cost["prefill_tflops"] == pytest.approx(planned.prefill_tflops)  # all its made-up layers ran on everything
    assert summary.cost["vision_tflops"] == pytest.approx(planned.vision_tflops)
    assert "8 frames, aim, merge_ratio 0.1, l1 12, l2 13" in text_of([summary, evaluation.summary(LUCKY)])


def test_charts_show_every_point_with_its_interval(config):
    evaluation = made_up(config)
    judged = judge(one([Check("", GOOD, BAD, BETTER)], kinds=("needle", ALL)), evaluation)
    figure = finding_chart(judged)
    assert [list(trace.y) for trace in figure.data] == [[50, 0, 25], [90, 60, 75]]
    accuracy = judged["points"][2]["accuracy"][ALL]
    assert figure.data[1].y[2] + figure.data[1].error_y.array[2] == pytest.approx(100 * accuracy["high"])
    assert figure.data[1].y[2] - figure.data[1].error_y.arrayminus[2] == pytest.approx(100 * accuracy["low"])
    costs = cost_chart([evaluation.summary(setting) for setting in (GOOD, BAD, LUCKY)])
    assert sorted(costs.data[0].y) == pytest.approx([60, 75, 90])
    assert "HOLDS" in findings_text([judged])


def test_the_full_model_at_eight_frames_is_what_most_findings_stand_on(seven):
    assert all(FULL in seven[number].settings() for number in (1, 2, 3))
