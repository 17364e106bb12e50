"""ZeroGPU's boundary with a real fork: everything that crosses is pickled, as the package `spaces` does it."""

import multiprocessing
import pickle
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import aim
from aim.runtime.faults import NotEnoughMemory
from aim.ui.gpu import LONGEST, SHORTEST, changed, placed, seconds
from aim.ui.handlers import answer as handle
from aim.ui.request import Request
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip

QUESTION = "what colour is the circle?"


class Forked:
    """A decorator as `spaces.GPU` is one on ZeroGPU: each call runs in a fork, arguments and yields go through pickle."""

    def __init__(self):
        self.estimates, self.children = [], []

    def __call__(self, duration):
        def decorate(function):
            def call(*arguments):
                self.estimates.append(duration(*arguments))
                context = multiprocessing.get_context("fork")
                here, there = context.Pipe(duplex=False)
                child = context.Process(target=_work, args=(function, pickle.dumps(arguments), there), daemon=True)
                child.start()
                there.close()
                self.children.append(child)
                try:
                    while (item := pickle.loads(here.recv_bytes())) is not _End:
                        yield item
                finally:
                    child.kill()
                    child.join()

            return call

        return decorate


class _End:
    pass


def _work(function, arguments, pipe):
    torch.set_num_threads(1)  # OpenMP's threads did not come along with the fork
    for item in function(*pickle.loads(arguments)):
        _refuse_tensors(item)
        pipe.send_bytes(pickle.dumps(item))
    pipe.send_bytes(pickle.dumps(_End))


def _refuse_tensors(item):
    found = []
    changed(item, torch.Tensor, found.append)
    assert not found, "a tensor would cross"


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def test_answers_from_a_forked_worker_equal_those_from_here(vlm):
    forked = Forked()
    remote, clip = placed(vlm, forked), make_clip(4)
    there, here = (list(model.stream(clip, QUESTION, max_new_tokens=4, scores="all")) for model in (remote, vlm))
    assert [answer.text for answer in there] == [answer.text for answer in here]
    ours, theirs = here[-1], there[-1]
    assert theirs.method == ours.method and theirs.cost == ours.cost and theirs.trace.tokens_per_layer == ours.trace.tokens_per_layer
    assert torch.equal(theirs.trace.assignment, ours.trace.assignment) and torch.equal(theirs.next_token, ours.next_token)
    assert all(torch.equal(one, other) for one, other in zip(theirs.trace.survivors, ours.trace.survivors, strict=True))
    assert remote.ask(clip, QUESTION, max_new_tokens=4).text == ours.text
    assert all(SHORTEST <= estimate <= LONGEST for estimate in forked.estimates) and len(forked.estimates) == 2


def test_the_page_runs_on_a_forked_model_as_on_one_here(vlm):
    request = Request.of("clip.mp4", QUESTION, 0.5, 2, 5, 3, compare=True, score_every_layer=True)
    screens = list(handle(placed(vlm, Forked()), request, {}, StopSignal(), read=lambda path, num_frames, stop: make_clip(num_frames)))
    run = screens[-1].run
    assert (
        run.answer.trace.frames == 3 and run.full.method.name == "full" and run.plan.tokens_per_layer == run.answer.trace.tokens_per_layer
    )


@pytest.mark.parametrize("error", [ValueError("No such thing."), NotEnoughMemory("Use fewer frames.")])
def test_a_refusal_comes_back_as_itself(error):
    with pytest.raises(type(error), match=str(error)):
        list(placed(FakeVlm(error=error), Forked()).stream(make_clip(), QUESTION, None))


def test_a_stop_ends_the_worker_between_two_answers():
    forked, stop = Forked(), threading.Event()
    remote, seen = placed(FakeVlm(words=("on ",) * 10_000, seconds=0.01), forked), []
    for answer in remote.stream(make_clip(), QUESTION, aim.AIM(), stop=stop):
        seen.append(answer.text)
        if len(seen) == 3:
            stop.set()
    assert len(seen) == 3 and not forked.children[0].is_alive()


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
