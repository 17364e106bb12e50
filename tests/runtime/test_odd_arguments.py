"""Arguments of a wrong type or size, to whatever the library offers: one sentence each, with given, accepted and what to do."""

import json
import threading

import numpy as np
import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.runtime.compare import compare
from aim.tuning.spending import frames_for, spend
from aim.tuning.transfer import tune_many
from aim.tuning.trust import guard

ODD = [None, True, "x", "", 0, 1.5, 10**400, 10**5000, [], [1.5], [[1]], {}, object(), np.ones(2), torch.ones(2, 2), b"x", int]
QUESTION = "what?"
EVENT = threading.Event()


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled", device="cpu")


@pytest.fixture(scope="module")
def clip():
    return aim.clip_from_frames(np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8), 1.0)


@pytest.fixture(scope="module")
def answer(vlm, clip):
    return vlm.ask(clip, QUESTION, max_new_tokens=1)


# name → (the call, with (vlm, clip, answer, odd value), the values of ODD that it takes)
CALLS = {
    "a clip": (lambda vlm, clip, answer, odd: vlm.ask(odd, QUESTION, max_new_tokens=1), ()),
    "a question": (lambda vlm, clip, answer, odd: vlm.ask(clip, odd, max_new_tokens=1), ("x",)),
    "a method": (lambda vlm, clip, answer, odd: vlm.ask(clip, QUESTION, odd, 1), (None,)),
    "the longest answer": (lambda vlm, clip, answer, odd: vlm.ask(clip, QUESTION, None, odd), ()),
    "beams": (lambda vlm, clip, answer, odd: vlm.ask(clip, QUESTION, None, 1, num_beams=odd), (None,)),
    "answers to one prompt": (lambda vlm, clip, answer, odd: vlm.ask(clip, QUESTION, None, 1, num_return_sequences=odd), (None,)),
    "a stop": (lambda vlm, clip, answer, odd: list(vlm.stream(clip, QUESTION, None, 1, odd)), (None,)),
    "the scores": (lambda vlm, clip, answer, odd: list(vlm.stream(clip, QUESTION, None, 1, scores=odd)), ()),
    "frames to encode": (lambda vlm, clip, answer, odd: vlm.encode(odd), ()),
    "a model to plan": (lambda vlm, clip, answer, odd: aim.plan(odd), ()),
    "frames to plan": (lambda vlm, clip, answer, odd: aim.plan("bundled", odd), ()),
    "a method to plan": (lambda vlm, clip, answer, odd: aim.plan("bundled", 2, 5, odd), (None,)),
    "a method to match": (lambda vlm, clip, answer, odd: aim.match(odd, "bundled", 4, 0.001), ()),
    "a budget to match": (lambda vlm, clip, answer, odd: aim.match("aim", "bundled", 4, odd, tolerance=None), (1.5,)),
    "a model to compare on": (lambda vlm, clip, answer, odd: next(compare(odd, clip, QUESTION, ["vtw"])), ()),
    "methods to compare": (lambda vlm, clip, answer, odd: next(compare(vlm, clip, QUESTION, odd, stop=EVENT)), (None,)),
    "a budget to compare at": (lambda vlm, clip, answer, odd: next(compare(vlm, clip, QUESTION, ["vtw"], odd)), (None, 1.5)),
    "rounds to compare": (lambda vlm, clip, answer, odd: next(compare(vlm, clip, QUESTION, ["vtw"], rounds=odd)), ()),
    "a budget to tune to": (lambda vlm, clip, answer, odd: aim.tune(vlm, clip, QUESTION, odd), ()),
    "frames to tune on": (lambda vlm, clip, answer, odd: aim.tune(vlm, clip, QUESTION, "2x", frames=odd, max_prefills=2), (None,)),
    "prefills to tune with": (lambda vlm, clip, answer, odd: aim.tune(vlm, clip, QUESTION, "2x", max_prefills=odd), ()),
    "a seed to tune with": (lambda vlm, clip, answer, odd: aim.tune(vlm, clip, QUESTION, "2x", max_prefills=2, seed=odd), (0,)),
    "clips to tune on": (lambda vlm, clip, answer, odd: tune_many(vlm, odd, "2x", max_prefills=2), ()),
    "an answer to check": (lambda vlm, clip, answer, odd: guard(vlm, clip, QUESTION, odd), ()),
    "a threshold to check by": (lambda vlm, clip, answer, odd: guard(vlm, clip, QUESTION, answer, odd), (0, 1.5, None)),
    "a reader to spend with": (lambda vlm, clip, answer, odd: spend(vlm, odd, QUESTION, aim.AIM(), 1), (int,)),
    "a budget to spend": (lambda vlm, clip, answer, odd: frames_for(vlm, aim.AIM(), odd, 4), (1.5,)),
    "a budget's kind": (lambda vlm, clip, answer, odd: aim.Budget(odd, 2.0), ()),
    "a budget's amount": (lambda vlm, clip, answer, odd: aim.Budget("times", odd), (1.5,)),
    "frames of a clip": (lambda vlm, clip, answer, odd: aim.clip_from_frames(odd, 1.0), ()),
    "a clip's rate": (lambda vlm, clip, answer, odd: aim.clip_from_frames(clip.frames, odd), (1.5,)),
    "a video": (lambda vlm, clip, answer, odd: aim.read_video(odd), ()),
    "a device": (lambda vlm, clip, answer, odd: aim.load("bundled", device=odd), (None,)),
    "a number type": (lambda vlm, clip, answer, odd: aim.load("bundled", device="cpu", dtype=odd), (None,)),
    "a quantization": (lambda vlm, clip, answer, odd: aim.load("bundled", device="cpu", quantization=odd), (None,)),
    "a checkpoint": (lambda vlm, clip, answer, odd: aim.load(odd), ("x",)),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_argument_is_refused_in_one_short_sentence(name, vlm, clip, answer):
    call, taken = CALLS[name]
    for odd in ODD:
        if any(type(odd) is type(value) and odd == value for value in taken):
            continue
        with pytest.raises(Refusal) as refused:
            call(vlm, clip, answer, odd)
        text = str(refused.value)
        assert "\n" not in text and len(text) < 1200, odd  # a list of all models is the longest


def test_what_is_zero_or_empty_is_not_taken_for_left_out(vlm, clip):
    with pytest.raises(Refusal, match="tflops is 0; accepted: a number above 0"):
        next(compare(vlm, clip, QUESTION, tflops=0))
    with pytest.raises(Refusal, match=r"frames is \[\]; accepted: a list"):
        aim.tune(vlm, clip, QUESTION, "2x", frames=[])
    with pytest.raises(Refusal, match="method is 0; accepted: a method"):
        vlm.ask(clip, QUESTION, 0)


def test_numpys_numbers_are_knobs_as_plain_ones_are(vlm, clip):
    method = aim.AIM(merge_ratio=np.float32(0.5), l1=np.int64(1), l2=np.int32(3), merge_window=np.int64(2))
    said = vlm.ask(clip, QUESTION, method, 1)
    assert said.text == vlm.ask(clip, QUESTION, aim.AIM(merge_ratio=0.5, l1=1, l2=3, merge_window=2), 1).text
    assert json.loads(json.dumps(said.account()))["params"]["l1"] == 1
    assert aim.PyramidDrop(stages=[2, 4]) == aim.PyramidDrop(stages=(2, 4))


def test_several_beams_are_refused_with_the_reason_and_one_is_as_ever(vlm, clip, answer):
    with pytest.raises(Refusal, match="^num_beams is 2; accepted: 1. An answer grows word by word"):
        vlm.ask(clip, QUESTION, num_beams=2)
    assert vlm.ask(clip, QUESTION, max_new_tokens=1, num_beams=1, num_return_sequences=1).text == answer.text
