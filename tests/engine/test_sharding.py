"""A model spread over two devices answers as one on a single device does, under every method.

There is no second device here, so one is pretended (`tests.pretend`): it enforces that operands lie together, nothing else.
"""

import pytest
import torch

import aim
from aim.methods import METHODS
from tests.pretend import HERE, THERE, TwoDevices, shard
from tests.tiny import clip_inputs, llava_onevision

GREEDY = {"max_new_tokens": 5, "do_sample": False}
SETTINGS = [
    aim.AIM(merge_ratio=0.5, l1=2, l2=5),
    aim.AIM(merge_ratio=0.5, l1=0, l2=3),
    aim.AIM(merge_ratio=0.5, l1=2, l2=5, positions="original", damping=0.2, restart="question"),
]
UNWATCHED = [method() for method in METHODS.values() if not method().needs_tower]


def run(model, method, scores="pruning"):
    with torch.no_grad(), aim.reduce(model, method, scores) as trace:
        output = model.generate(**clip_inputs(), **GREEDY, return_dict_in_generate=True)
    return output.sequences, trace, [str(layer.keys.device) for layer in output.past_key_values.layers]


# AIM's settings by default, the other methods in CI. A seam in front of every layer that drops is `every` for those: there all is alike.
CUTS = [
    pytest.param(method, 4, id=f"{method}-4", marks=pytest.mark.whole if method in UNWATCHED else ()) for method in [*SETTINGS, *UNWATCHED]
]
CUTS += [
    pytest.param(method, 1, id=f"{method}-1", marks=pytest.mark.every if method in UNWATCHED else pytest.mark.whole)
    for method in [*SETTINGS, *UNWATCHED]
]


@pytest.mark.parametrize(("method", "first"), CUTS)
def test_answer_lengths_and_scores_are_those_of_one_device(method, first):
    expected, whole, _ = run(llava_onevision(), method, "all")
    model = llava_onevision()
    shard(model, first)
    with TwoDevices():
        answer, trace, places = run(model, method, "all")
    assert torch.equal(answer, expected)
    assert trace.tokens_per_layer == whole.tokens_per_layer
    assert places == ["cpu"] * first + ["cpu:1"] * (6 - first)  # each layer's cache lies with its layer
    for ours, theirs in zip(trace.scores, whole.scores, strict=True):
        assert (ours is None) == (theirs is None) and (ours is None or (torch.allclose(ours, theirs) and ours.device == HERE))


def test_the_pretended_device_refuses_what_a_real_one_would():
    with TwoDevices():
        there = torch.ones(3, device=THERE)
        assert (there + 1).device == THERE and there.to(HERE).device == HERE
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
