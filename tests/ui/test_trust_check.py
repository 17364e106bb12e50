"""When a finished run is checked, and what a visitor is told."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import pytest

import aim
from aim.engine.stopping import Stopped
from aim.methods import AIM
from aim.planning.plan import Plan
from aim.runtime.faults import NotEnoughMemory
from aim.runtime.vlm import Answer
from aim.tuning import trust
from aim.tuning.trust import Verdict
from aim.ui.gpu import placed
from aim.ui.handlers import FinishedRun
from aim.ui.knobs import guarded
from aim.ui.request import Request
from aim.ui.stop import StopSignal
from aim.ui.trust_check import checked, reduces_nothing, warned
from tests.fakes import COST, FakeVlm, make_clip, make_trace

REQUEST = Request.of("clip.mp4", "what is there?", 0.5, 1, 3, 2)
CLIP = make_clip()
PLAN = Plan(**{name: COST[name] for name in COST if name != "decode_tflops"}, tokens_per_layer=[])
RUN = FinishedRun(lambda: CLIP, Answer(text="red", trace=make_trace(), cost=COST), PLAN, REQUEST)
DOUBTFUL = Verdict(AIM(), 2.0, True, "The reduction probably changed the answer: <b>.")


def outcomes(caplog) -> list[str]:
    """How the guard's runs ended, as the log tells it."""
    lines = [record.getMessage() for record in caplog.records if record.name == "aim.runs"]
    assert all("method=guard frames=2" in line for line in lines)
    return [line.split("outcome=")[1] for line in lines]


@pytest.fixture
def asked(monkeypatch, caplog) -> list:
    """What the guard was asked; it always doubts."""
    calls = []

    def guard(vlm, clip, question, answer, stop):
        calls.append((clip, question, answer.text))
        if stop.is_set():
            raise Stopped
        return DOUBTFUL

    monkeypatch.setattr(trust, "guard", guard)
    caplog.set_level(logging.INFO, "aim.runs")
    return calls


def test_a_reduced_run_is_checked_once_on_its_own_clip_and_logged(asked, caplog):
    assert checked(placed(FakeVlm()), RUN, StopSignal()) is DOUBTFUL
    assert asked == [(CLIP, REQUEST.question, "red")] and outcomes(caplog) == ["ok"]


def test_a_stop_ends_the_check_and_the_log_says_so(asked, caplog):
    class Pressed(StopSignal):
        def follow(self, present):
            super().follow(present)
            self.ask()

    stop = Pressed()
    assert checked(placed(FakeVlm()), RUN, stop) is None
    assert outcomes(caplog) == ["stopped"] and not stop.busy


def test_a_check_that_does_not_fit_into_memory_is_logged_as_failed(monkeypatch, caplog):
    def guard(*_arguments, **_options):
        raise NotEnoughMemory("Use fewer frames.")

    monkeypatch.setattr(trust, "guard", guard)
    caplog.set_level(logging.INFO, "aim.runs")
    with pytest.raises(NotEnoughMemory):
        checked(placed(FakeVlm()), RUN, StopSignal())
    assert outcomes(caplog) == ["failed"]


def test_the_guard_of_a_real_model_heeds_stop_and_memory(monkeypatch):
    vlm, stop = aim.load("bundled", device="cpu"), threading.Event()
    answer = vlm.ask(CLIP, "what colour is the circle?", AIM(merge_ratio=0.1), 1)
    layers, entered = vlm.model.model.language_model.layers, []
    hook = layers[3].register_forward_pre_hook(lambda *_: entered.append(1) or stop.set())
    with pytest.raises(Stopped):
        trust.guard(vlm, CLIP, "what colour is the circle?", answer, stop=stop)
    hook.remove()
    assert entered == [1] and vlm.lock.holder is None
    with monkeypatch.context() as patch:
        patch.setattr(layers[5], "forward", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(NotEnoughMemory, match="fewer frames"):
            trust.guard(vlm, CLIP, "what colour is the circle?", answer)
    assert len(vlm.features) == 0 and trust.guard(vlm, CLIP, "what colour is the circle?", answer).divergence >= 0


def test_no_prefill_is_spent_where_there_is_nothing_to_find_out(asked, caplog):
    trace = make_trace()
    whole = replace(trace, tokens_per_layer=[(trace.visual_tokens, 5)] * 4)
    full = replace(RUN, answer=replace(RUN.answer, trace=whole))
    assert reduces_nothing(full) and not reduces_nothing(RUN)
    model = placed(FakeVlm())
    assert checked(model, full, StopSignal()) is None
    assert checked(model, replace(RUN, full=RUN.answer), StopSignal()) is None  # the full model's answer stands beside it
    assert asked == [] and outcomes(caplog) == []


def test_a_doubtful_verdict_is_told_as_text_and_no_other():
    told = warned(DOUBTFUL)
    assert "probably changed" in told and "<b>" not in told
    assert warned(replace(DOUBTFUL, doubtful=False)) == warned(None) == ""


def test_a_real_model_on_a_cpu_is_not_prefilled_twice_unasked():
    slow, bundled = FakeVlm(), FakeVlm()
    bundled.is_bundled = True
    assert guarded(bundled) and not guarded(slow)
