"""ZeroGPU's boundary with a real fork: everything that crosses is pickled, as the package `spaces` does it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import aim
from aim.runtime.faults import NotEnoughMemory
from aim.ui.gpu import LONGEST, SHORTEST, changed, placed, seconds
from aim.ui.handlers import answer
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip
from tests.ui.forked_worker import QUESTION, page_request, play


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


def test_answers_from_a_forked_worker_equal_those_from_here(forked, vlm):
    told = forked["answers"]
    here = list(vlm.stream(make_clip(4), QUESTION, max_new_tokens=4, scores="all"))
    assert [given.text for given in told["streamed"]] == [given.text for given in here]
    assert same_run(told["streamed"][-1], here[-1])
    torch.testing.assert_close(told["streamed"][-1].next_token, here[-1].next_token)
    assert told["asked"].text == here[-1].text


def test_each_call_is_one_fork_with_an_estimate_within_bounds(forked):
    told = forked["answers"]
    assert len(told["estimates"]) == len(told["workers"]) == 2 and told["parent"] not in told["workers"]
    assert all(SHORTEST <= estimate <= LONGEST for estimate in told["estimates"])


def test_the_page_runs_on_a_forked_model_as_on_one_here(forked, vlm):
    told = forked["page"]
    screens = list(answer(vlm, page_request(), {}, StopSignal(), read=lambda path, num_frames, stop: make_clip(num_frames)))
    run = screens[-1].run
    assert same_run(told["answer"], run.answer) and same_run(told["full"], run.full) and told["plan"] == run.plan
    assert told["calls"] == 2 and told["full"].method.name == "full" and told["answer"].trace.frames == 3


def test_a_refusal_comes_back_as_itself(forked):
    assert [(type(error), str(error)) for error in forked["refusals"]] == [
        (ValueError, "No such thing."),
        (NotEnoughMemory, "Use fewer frames."),
        (RuntimeError, "A kernel failed."),
    ]


def test_a_stop_ends_the_worker_between_two_answers(forked):
    assert len(forked["stopped"]["texts"]) == 3 and forked["stopped"]["alive"] == [False]


def test_a_worker_that_would_send_a_tensor_is_found_out(forked):
    assert isinstance(forked["tensor"], TypeError) and str(forked["tensor"]) == "A tensor would cross."


def test_the_estimate_grows_with_the_work_and_stays_within_bounds(vlm):
    few, many = (seconds(vlm, make_clip(2), QUESTION, None, tokens) for tokens in (8, 512))
    assert SHORTEST <= few < many <= LONGEST
    huge = SimpleNamespace(vision_tflops=1e6, merge_tflops=0, prefill_tflops=1e6, importance_tflops=0)
    model = SimpleNamespace(grid=vlm.grid, num_layers=12, text_tokens=vlm.text_tokens, plan=lambda *_: huge)
    assert seconds(model, make_clip(2), QUESTION, None, 8) == LONGEST


def test_without_the_package_and_off_zerogpu_the_model_is_itself(monkeypatch):
    vlm = FakeVlm()
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    assert placed(vlm) is vlm
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lambda duration: lambda function: function))
    assert placed(vlm) is vlm


def test_what_crosses_keeps_its_shape():
    trace = aim.Trace(num_layers=1, assignment=torch.tensor([[0, 1]]), scores=[None, torch.tensor([0.5])], tokens_per_layer=[(2, 3)])
    there = changed({"trace": trace}, torch.Tensor, lambda tensor: tensor.numpy())["trace"]
    assert isinstance(there.assignment, np.ndarray) and there.scores[0] is None and there.tokens_per_layer == [(2, 3)]
    back = changed(there, np.ndarray, torch.from_numpy)
    assert torch.equal(back.assignment, trace.assignment) and back.assignment.dtype == torch.long
