"""Findings 8 to 10: the evidence kept is compared by question, claims are judged one by one, and equal is what is said to be."""

from dataclasses import replace
from statistics import NormalDist, fmean

import numpy as np
import pytest

import aim
from aim.evaluation.charts import finding_chart
from aim.evaluation.findings import AS_GOOD, BETTER, RECALL, Check, judge
from aim.evaluation.statistics import paired_difference
from aim.evaluation.suites_of_methods import FEWER, TOWERS, findings_of_methods
from aim.evaluation.summary import ALL, Evaluation
from aim.evaluation.writing import findings_text
from aim.shapes.model import build_model
from tests.benchmark import record, untrained
from tests.evaluation.made_up import BAD, GOOD, LUCKY, PER_FRAME, made_up, one

LAYERS = 12


@pytest.fixture(scope="module")
def config():
    return build_model().config


def with_recall(setting, clip, shares):
    """A record whose question number i is about something, of which the second half of the layers has `shares[i]`; or nothing."""
    made = record(setting, clip, [1] * len(shares))
    outcomes = [
        replace(outcome, recall=None if share is None else [1.0] * 6 + [share] * 6)
        for outcome, share in zip(made.outcomes, shares, strict=True)
    ]
    return replace(made, outcomes=outcomes)


def kept(config):
    """GOOD keeps all of the evidence, and BAD none or half of it in the second half of the layers; a third question is about nothing."""
    records = []
    for clip in range(6):
        records += [with_recall(GOOD, clip, [1.0, 1.0, None]), with_recall(BAD, clip, [0.0, 0.5 * (clip % 2), None])]
    return Evaluation(records, config, PER_FRAME)


def test_the_evidence_kept_is_compared_by_question_and_clips_stay_whole(config):
    evaluation = kept(config)
    theirs = np.array([share for clip in range(6) for share in (0.5, 0.5 + 0.25 * (clip % 2))])
    expected = paired_difference(np.ones(12), theirs, np.repeat(range(6), 2))
    assert evaluation.recall_difference(GOOD, BAD) == expected and expected.value == pytest.approx(1 - theirs.mean())
    assert evaluation.recall_share(BAD).value == pytest.approx(fmean(theirs)) and evaluation.recall_share(GOOD).high == 1.0
    assert evaluation.questions(about_items=True) == 12 and evaluation.questions() == 18


def test_a_finding_about_evidence_shows_and_judges_it_with_wider_intervals(config):
    checks = [Check("good against bad", GOOD, BAD, BETTER, told=True), Check("bad against good", BAD, GOOD, BETTER)]
    finding = replace(one(checks), points=one(checks).points[:2], figure=RECALL, widened=True)
    judged = judge(finding, kept(config))
    assert judged["verdict"] == "holds partly" and judged["checks"][0]["questions"] == 12 and judged["widened"] == 2
    plain = kept(config).recall_difference(GOOD, BAD)
    wider = NormalDist().inv_cdf(1 - 0.025 / 2) / NormalDist().inv_cdf(0.975)
    assert judged["checks"][0]["low"] == pytest.approx(plain.value - wider * (plain.value - plain.low))
    assert "Evidence kept: good against bad +43.8 points" in judged["sentence"]
    shown = finding_chart(judged)
    assert list(shown.data[0].y) == pytest.approx([100.0, 56.25]) and "evidence kept" in shown.layout.yaxis.title.text
    assert "56.2 %" in findings_text([judged])


def test_each_claim_of_a_finding_has_a_verdict_of_its_own(config):
    checks = [
        Check("", GOOD, BAD, BETTER, told=True, claim="First"),
        Check("", BAD, GOOD, AS_GOOD, claim="Second"),
        Check("", GOOD, LUCKY, BETTER, claim="Second"),
        Check("", BAD, GOOD, BETTER, claim="Third"),
    ]
    judged = judge(one(checks), made_up(config))
    assert judged["claims"] == {"First": "holds", "Second": "holds partly", "Third": "does not hold here"}
    assert "By claim: First holds; Second holds partly; Third does not hold here." in judged["sentence"]


def test_the_three_compare_what_they_show_at_the_cost_they_name(tmp_path):
    vlm = untrained(tmp_path)
    tower, evidence, claims = findings_of_methods(vlm)
    for finding in (tower, evidence, claims):
        shown = {point.setting for point in finding.points}
        assert {setting for check in finding.checks for setting in (check.first, check.second)} <= shown
        assert any(check.told for check in finding.checks)
        assert len({(point.series, point.x) for point in finding.points}) == len(finding.points)
    # Half of the frames take the full tower about as long as merging takes it on all.
    full, merged = (vlm.plan(frames, 13, aim.Full(), tower=kind) for frames, kind in ((FEWER, None), (8, TOWERS["merged to 30 %"])))
    assert full.vision_tflops == pytest.approx(merged.vision_tflops, rel=0.05)
    assert {check.first.frames for check in evidence.checks} == {8, 32}
    assert all(check.first.frames == check.second.frames and check.expected == BETTER for check in evidence.checks)
    by_claim = {
        name: [check for check in claims.checks if check.claim == name] for name in ("VidCom2", "EVS", "DART", "DivPrune", "FlashVID")
    }
    assert sum(map(len, by_claim.values())) == len(claims.checks)

    def counts(setting):
        return setting.method.visual_per_layer(LAYERS, setting.frames, PER_FRAME)

    for check in by_claim["DART"]:
        assert counts(check.first) == pytest.approx(counts(check.second), abs=4)
    kept = [(point.x, counts(point.setting)[0]) for point in claims.points]
    # The chart has its places in the order of its points, from all tokens to few.
    shares = [float(share.removesuffix(" %")) for share, _ in kept]
    assert shares == sorted(shares, reverse=True) and kept[0] == ("100 %", 392) and ("25 %", 98) in kept and claims.kinds == (ALL,)
