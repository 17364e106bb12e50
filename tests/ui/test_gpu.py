"""ZeroGPU's boundary with a real fork: everything that crosses is pickled, as the package `spaces` does it."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.runtime.answer import Answer
from aim.runtime.faults import NotEnoughMemory
from aim.ui.gpu import LONGEST, SHORTEST, Packed, packed, placed, seconds, unpacked
from aim.ui.handlers import answer
from aim.ui.jobs import JOBS
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip
from tests.ui.forked_worker import METHODS_COMPARED, QUESTION, arguments_of, fake_arguments, page_request, play, play_jobs

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """What happened in an interpreter of its own that forks for each call."""
    return play(tmp_path_factory.mktemp("forked"))


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


def same_run(theirs, ours) -> bool:
    """Whether two answers hold the same words, tokens in every layer, scores and cost."""
    scores = zip(theirs.trace.scores, ours.trace.scores, strict=True)
    return (
        (theirs.text, theirs.method, theirs.cost) == (ours.text, ours.method, ours.cost)
        and theirs.trace.tokens_per_layer == ours.trace.tokens_per_layer
        and torch.equal(theirs.trace.assignment, ours.trace.assignment)
        and all(torch.equal(one, other) for one, other in zip(theirs.trace.survivors, ours.trace.survivors, strict=True))
        and all(one is other is None or torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in scores)
    )


@pytest.fixture(scope="module")
def ours(vlm):
    """What the same jobs give here."""
    vlm.features.clear()
    return play_jobs(vlm, placed(vlm))


@pytest.fixture(scope="module")
def theirs(forked):
    return forked["jobs"]["told"]


@pytest.mark.parametrize(("job", "passes"), [("ask", 1), ("compare", 1), ("tune", 1), ("spend", 2), ("guard", 1)])
def test_each_job_is_one_call_and_encodes_each_of_its_clips_once(theirs, ours, job, passes):
    assert (theirs[job]["calls"], theirs[job]["passes"]) == (1, passes)  # `spend` is about two clips
    assert ours[job]["passes"] == passes


def test_there_are_no_more_jobs_than_those_that_are_counted(theirs):
    assert set(theirs) == set(JOBS)


def test_each_call_is_a_fork_with_an_estimate_within_bounds(forked, theirs):
    told = forked["jobs"]
    assert len(told["workers"]) == len(JOBS) and told["parent"] not in told["workers"]
    assert all(SHORTEST <= one["estimate"] <= LONGEST for one in theirs.values())


def results(told, job):
    return told[job]["results"]


def test_ask_streams_the_same_answers_from_a_worker_as_here(theirs, ours):
    there, here = results(theirs, "ask"), results(ours, "ask")
    assert [(said.by_full, said.answer.text) for said in there] == [(said.by_full, said.answer.text) for said in here]
    for by_full in (False, True):
        one, other = ([said.answer for said in told if said.by_full == by_full][-1] for told in (there, here))
        assert same_run(one, other) and one.features_reused == other.features_reused == by_full
        torch.testing.assert_close(one.next_token, other.next_token)


def test_compare_gives_the_same_comparison(theirs, ours):
    there, here = results(theirs, "compare"), results(ours, "compare")
    assert [len(told.runs) for told in there] == [len(told.runs) for told in here]
    there, here = there[-1], here[-1]
    assert there.complete and len(there.runs) == 1 + len(METHODS_COMPARED)
    for one, other in zip(there.runs, here.runs, strict=True):
        assert same_run(one.answer, other.answer) and one.agrees == other.agrees
        assert one.divergence == pytest.approx(other.divergence, rel=1e-3, abs=1e-6)
        assert len(one.prefill_seconds) == len(other.prefill_seconds) > 1
    torch.testing.assert_close(there.overlap(), here.overlap(), equal_nan=True)


def test_tune_tries_the_same_settings_and_chooses_the_same(theirs, ours):
    there, here = results(theirs, "tune"), results(ours, "tune")
    assert len(there) == len(here) > 3
    there, here = there[-1], here[-1]
    assert there.complete and there.prefills == here.prefills and there.chosen.method == here.chosen.method
    for one, other in zip(there.tried, here.tried, strict=True):
        assert (one.method, one.frames, one.cost) == (other.method, other.frames, other.cost)
        assert (one.divergence is None) == (other.divergence is None)  # None of a setting that was given up
        assert one.divergence is None or one.divergence == pytest.approx(other.divergence, rel=1e-3, abs=1e-6)


def test_spend_gives_both_answers(theirs, ours):
    there, here = results(theirs, "spend"), results(ours, "spend")
    assert len(there) == len(here) == 2 and all(same_run(one, other) for one, other in zip(there, here, strict=True))
    assert [answer.trace.frames for answer in there] == [4, 7]


def test_guard_gives_the_same_verdict(theirs, ours):
    [there], [here] = results(theirs, "guard"), results(ours, "guard")
    assert (there.milder, there.doubtful, there.sentence) == (here.milder, here.doubtful, here.sentence)
    assert there.divergence == pytest.approx(here.divergence, rel=1e-3, abs=1e-6)


def test_the_page_runs_on_a_forked_model_as_on_one_here(forked, vlm):
    told = forked["page"]
    screens = list(answer(placed(vlm), page_request(), StopSignal(), read=lambda path, num_frames, stop: make_clip(num_frames)))
    run = screens[-1].run
    assert same_run(told["answer"], run.answer) and same_run(told["full"], run.full) and told["plan"] == run.plan
    assert told["calls"] == 1 and told["full"].method.name == "full" and told["answer"].trace.frames == 3


def test_a_refusal_comes_back_as_itself(forked):
    assert [(type(error), str(error)) for error in forked["refusals"]] == [
        (Refusal, "No such thing."),
        (NotEnoughMemory, "Use fewer frames."),
        (RuntimeError, "A kernel failed."),
    ]


def test_a_stop_reaches_the_worker_and_what_was_said_stays(forked):
    answers = forked["stopped"]["answers"]
    assert 3 <= len(answers) < 1000 and forked["stopped"]["alive"] == [False]
    assert answers[-1].trace is not None and answers[-1].text == answers[-2].text


def test_a_stop_reaches_a_worker_that_says_nothing_and_one_whose_caller_left(forked):
    assert forked["silent"] == {"results": [], "alive": [False, False], "threads": 1}


def test_a_worker_that_would_send_a_tensor_is_found_out(forked):
    assert isinstance(forked["tensor"], TypeError) and str(forked["tensor"]) == "A tensor would cross."


def test_the_estimate_grows_with_the_work_and_stays_within_bounds(vlm):
    asked = {"clip": make_clip(2), "question": QUESTION, "method": aim.AIM()}
    few, many = (seconds(vlm, "ask", **asked, max_new_tokens=tokens) for tokens in (8, 512))
    assert SHORTEST <= few < many <= LONGEST
    assert seconds(vlm, "ask", **asked, max_new_tokens=512, compare=True) > many
    huge = SimpleNamespace(vision_tflops=1e6, merge_tflops=0, prefill_tflops=1e6, importance_tflops=0)
    model = SimpleNamespace(grid=vlm.grid, num_layers=12, text_tokens=vlm.text_tokens, plan=lambda *_: huge)
    assert seconds(model, "ask", **asked, max_new_tokens=8) == LONGEST


def test_comparing_and_tuning_are_estimated_to_cost_more_than_an_answer(vlm):
    """By the plans of each prefill they make: on a model as large as those of a Space."""

    def large(frames, text_tokens, method, grid=None):
        plan = vlm.plan(frames, text_tokens, method, grid).to_dict()
        return SimpleNamespace(**{name: 1e4 * plan[name] for name in plan if name.endswith("tflops")})

    model = SimpleNamespace(grid=vlm.grid, num_layers=12, text_tokens=vlm.text_tokens, plan=large)
    needs = {}
    for name, arguments in arguments_of().items():
        arguments = arguments | ({"answer": Answer(method=aim.AIM())} if name == "guard" else {})
        needs[name], _ = JOBS[name].needs(model, **arguments)
    full = large(4, vlm.text_tokens(QUESTION), aim.Full(), vlm.grid(4, 40, 60)).prefill_tflops
    assert needs["tune"] > 6 * full and needs["compare"] > 3 * full * 2
    assert needs["guard"] <= needs["ask"] < min(needs["compare"], needs["tune"])


def test_without_the_package_and_off_zerogpu_jobs_run_here(monkeypatch):
    vlm = FakeVlm()
    for package in (None, SimpleNamespace(GPU=lambda duration: lambda function: function)):
        monkeypatch.setitem(sys.modules, "spaces", package)
        model = placed(vlm)
        *_, last = model.run("ask", threading.Event(), **fake_arguments())
        assert last.answer.text == "a red circle" and vlm.asked[-1].method == aim.AIM()


def test_the_page_cannot_reach_the_model_past_its_jobs():
    model = placed(FakeVlm())
    assert not hasattr(type(model), "__getattr__")
    assert not any(hasattr(model, name) for name in ("stream", "ask", "encoded", "model", "checkpoint", "features"))


def test_what_crosses_keeps_its_shape():
    trace = aim.Trace(num_layers=1, assignment=torch.tensor([[0, 1]]), scores=[None, torch.tensor([0.5])], tokens_per_layer=[(2, 3)])
    there = packed({"trace": trace, "clip": make_clip(2)})
    assert isinstance(there["trace"].assignment, Packed) and there["trace"].scores[0] is None
    back = unpacked(there)
    assert torch.equal(back["trace"].assignment, trace.assignment) and back["trace"].assignment.dtype == torch.long
    assert back["trace"].tokens_per_layer == [(2, 3)]
    assert isinstance(back["clip"].frames, np.ndarray) and back["clip"] == make_clip(2)  # an array stays one
