"""Ending the model early, wherever it is: in the vision tower, in the prefill, while decoding."""

import threading

import pytest
import torch

import aim
from aim.engine.stopping import Stopped, stoppable
from tests.engine.test_engine import fingerprint
from tests.fakes import make_clip
from tests.tiny import clip_inputs, llava_onevision

QUESTION = "what colour is the circle?"


@pytest.fixture(scope="module")
def vlm():
    vlm = aim.load("bundled")
    vlm.ask(make_clip(1), QUESTION, max_new_tokens=1)  # transformers notes on the model what its first forward found out
    return vlm


class At:
    """Calls `then` when a layer runs for the n-th time, and counts the calls of all layers after that."""

    def __init__(self, layers, layer, then, nth=1):
        self.after, self.reached, self._left, self._then = 0, False, nth, then
        self.hooks = [one.register_forward_hook(self._ran(index == layer)) for index, one in enumerate(layers)]

    def _ran(self, here):
        def hook(*_):
            self.after += self.reached
            if here and not self.reached:
                self._left -= 1
                if not self._left:
                    self.reached = True
                    self._then()

        return hook

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()


def layers_of(vlm, part):
    core = vlm.model.model
    return {"tower": core.vision_tower.encoder.layers, "llm": core.language_model.layers}[part]


@pytest.mark.parametrize(("part", "layer"), [("tower", 0), ("llm", 0), ("llm", 5)])
def test_a_stop_before_the_first_token_ends_before_the_next_layer_and_leaves_no_trace(vlm, part, layer):
    vlm._encoded.clear()
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
