"""Ending the model early, wherever it is: in the vision tower, in the prefill, while decoding."""

import threading

import pytest
import torch

import aim
from aim.engine.stopping import Stopped, stoppable
from tests.engine.at_a_layer import At, layers_of
from tests.fakes import make_clip
from tests.tiny import clip_inputs, fingerprint, llava_onevision

QUESTION = "what colour is the circle?"


@pytest.fixture(scope="module")
def vlm():
    vlm = aim.load("bundled")
    vlm.ask(make_clip(1), QUESTION, max_new_tokens=1)  # transformers notes on the model what its first forward found out
    return vlm


@pytest.mark.parametrize(("part", "layer"), [("tower", 0), ("llm", 0), ("llm", 5)])
def test_a_stop_before_the_first_token_ends_before_the_next_layer_and_leaves_no_trace(vlm, part, layer):
    vlm.features.clear()
    before, stop = fingerprint(vlm.model), threading.Event()
    with At(layers_of(vlm, part), layer, stop.set) as place:
        answers = list(vlm.stream(make_clip(4), QUESTION, stop=stop))
    assert place.reached and place.after == 0
    assert [answer.trace for answer in answers] == [None] * len(answers)
    assert fingerprint(vlm.model) == before
    assert vlm.ask(make_clip(4), QUESTION, max_new_tokens=2).new_tokens == 2


def test_a_stop_while_decoding_keeps_what_was_said(vlm):
    clip = make_clip(4)
    whole = vlm.ask(clip, QUESTION, max_new_tokens=8)
    vlm.model.generation_config.eos_token_id, ends = None, vlm.model.generation_config.eos_token_id
    try:
        stop = threading.Event()
        with At(layers_of(vlm, "llm"), 3, stop.set, nth=6) as place:
            answer = vlm.ask(clip, QUESTION, max_new_tokens=400, stop=stop)
        assert place.after == 0 and answer.new_tokens == 5
        assert answer.trace.tokens_per_layer == whole.trace.tokens_per_layer and answer.cost["kv_bytes"] == whole.cost["kv_bytes"]
        assert answer.text == vlm.ask(clip, QUESTION, max_new_tokens=5).text
    finally:
        vlm.model.generation_config.eos_token_id = ends


def test_every_layer_of_a_model_listens_and_none_after_the_block():
    model, calls = llava_onevision(layers=3), []
    with torch.no_grad():
        with stoppable(model, lambda: calls.append(1) or False):
            model(**clip_inputs())
        assert len(calls) == 2 + 3  # the tower's layers and the LLM's
        model(**clip_inputs())
        assert len(calls) == 5
        with pytest.raises(Stopped), stoppable(model, lambda: True):
            model(**clip_inputs())
        model(**clip_inputs())
