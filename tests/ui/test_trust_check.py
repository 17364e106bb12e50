"""When a finished run is checked, and what a visitor is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aim.methods import AIM
from aim.planning.plan import Plan
from aim.runtime.vlm import Answer
from aim.tuning.trust import Verdict
from aim.ui import trust_check as module
from aim.ui.handlers import FinishedRun
from aim.ui.knobs import guarded
from aim.ui.request import Request
from aim.ui.trust_check import checked, reduces_nothing, warned
from tests.fakes import COST, FakeVlm, make_clip, make_trace

REQUEST = Request.of("clip.mp4", "what is there?", 0.5, 1, 3, 2)
CLIP = make_clip()
CLIPS = {("clip.mp4", 2): CLIP}
PLAN = Plan(**{name: COST[name] for name in COST if name != "decode_tflops"}, tokens_per_layer=[])
RUN = FinishedRun(CLIP.frames, CLIP.timestamps, Answer(text="red", trace=make_trace(), cost=COST), PLAN, REQUEST)
DOUBTFUL = Verdict(AIM(), 2.0, True, "The reduction probably changed the answer: <b>.")


@pytest.fixture
def asked(monkeypatch) -> list:
    """What the guard was asked; it always doubts."""
    calls = []
    monkeypatch.setattr(module, "guard", lambda *arguments: calls.append(arguments) or DOUBTFUL)
    return calls


def test_a_reduced_run_is_checked_once_on_its_own_clip(asked):
    vlm = FakeVlm()
    assert checked(vlm, RUN, CLIPS) is DOUBTFUL
    assert asked == [(vlm, CLIP, REQUEST.question, RUN.answer)]


def test_no_prefill_is_spent_where_there_is_nothing_to_find_out(asked):
    trace = make_trace()
    whole = replace(trace, tokens_per_layer=[(trace.visual_tokens, 5)] * 4)
    full = replace(RUN, answer=replace(RUN.answer, trace=whole))
    assert reduces_nothing(full) and not reduces_nothing(RUN)
    assert checked(FakeVlm(), full, CLIPS) is None
    assert checked(FakeVlm(), replace(RUN, full=RUN.answer), CLIPS) is None  # the full model's answer stands beside it
    assert checked(FakeVlm(), RUN, {}) is None
    assert asked == []


def test_a_doubtful_verdict_is_told_beside_the_models_own_note_and_as_text():
    noted = replace(RUN, answer=replace(RUN.answer, note="It does not know “dog”."))
    told = warned(noted, DOUBTFUL)
    assert "It does not know" in told and "probably changed" in told and "<b>" not in told
    assert warned(noted, replace(DOUBTFUL, doubtful=False)) == warned(noted, None)
    assert "probably" not in warned(noted, None) and warned(RUN, None) == ""


def test_a_real_model_on_a_cpu_is_not_prefilled_twice_unasked():
    slow, bundled = FakeVlm(), FakeVlm()
    bundled.is_bundled = True
    assert guarded(bundled) and not guarded(slow)
