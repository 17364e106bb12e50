"""After the block: a cache that holds a shortened prompt refuses, and the model counts positions as it did before."""

import copy
import pickle
import weakref

import pytest
import torch

import aim
from aim.engine import caches
from aim.kernels.refusal import Refusal
from tests.tiny import FAR_APART, TINY, own_cache

METHODS = [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.ToMe(merge_ratio=0.5), aim.VTW(layer=3)]


@pytest.fixture(scope="module", params=FAR_APART)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def prefill(model, inputs):
    """(the first word [1, 1], the cache) after a prompt."""
    with torch.no_grad():
        output = model(**inputs, **own_cache(model), use_cache=True)
    return output.logits[:, -1].argmax(-1, keepdim=True), output.past_key_values


def step(model, word, cache):
    with torch.no_grad():
        return model(input_ids=word, past_key_values=cache, use_cache=True).logits[:, -1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_cache_of_a_shortened_prompt_is_refused_outside(family, model, method):
    with aim.reduce(model, method) as trace:
        early = prefill(model, family.video_inputs(seed=1))
        late = word, cache = prefill(model, family.video_inputs())
        step(model, word, cache)
    held = caches.held_by_layer(cache, [0] * len(cache.layers))
    states = [layer.recurrent_states[0].clone() for layer in cache.layers if hasattr(layer, "recurrent_states")]
    assert held == family.cached([length + 1 for length in trace.key_value_lengths])
    for first_word, filled in (early, late):
        with pytest.raises(Refusal, match="Decode inside the block"):
            step(model, first_word, filled)
    assert caches.held_by_layer(cache, [0] * len(cache.layers)) == held
    assert all(map(torch.equal, states, [layer.recurrent_states[0] for layer in cache.layers if hasattr(layer, "recurrent_states")]))


def test_a_cache_of_a_whole_prompt_goes_on_outside_as_stock(family, model):
    inputs = family.video_inputs()
    word, stock = prefill(model, inputs)
    expected = step(model, word, stock)
    with aim.reduce(model, aim.Full()):
        word, cache = prefill(model, inputs)
    model_counts_as_after = prefill(model, inputs)  # M-RoPE models keep the last prompt's offset, which the block has put back
    assert model_counts_as_after and torch.equal(step(model, word, cache), expected)


def test_an_answer_that_was_begun_before_the_block_goes_on_after_it(family, model):
    short, long = family.image_inputs(images=2), family.video_inputs(frames=8)
    word, cache = prefill(model, short)
    expected = step(model, word, cache)
    word, cache = prefill(model, short)
    with aim.reduce(model, METHODS[0]):
        prefill(model, long)
    assert torch.equal(step(model, word, cache), expected)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda cache: copy.deepcopy(copy.deepcopy(cache))], ids=["deep", "plain", "twice"]
)
def test_a_copy_of_such_a_cache_is_refused_outside_too(family, model, copied):
    with aim.reduce(model, METHODS[0]):
        word, cache = prefill(model, family.video_inputs())
        copies = [copied(cache), copied([cache])[0]]
        step(model, word, cache)
    copies.append(copied(cache))
    for other in copies:
        assert caches.cache_bytes(other) > 0
        with pytest.raises(Refusal, match="Decode inside the block"):
            step(model, word, other)


def test_a_deep_copy_holds_what_was_there_and_the_block_does_not_keep_it_alive(family, model):
    with aim.reduce(model, METHODS[0]) as trace:
        word, cache = prefill(model, family.video_inputs())
        other = copy.deepcopy(cache)
        step(model, word, cache)
        gone = weakref.ref(copy.deepcopy(cache))
        assert gone() is None
    assert caches.held_by_layer(other, [0] * len(other.layers)) == family.cached(list(trace.key_value_lengths))


def test_a_cache_is_pickled_after_the_block_and_not_in_it(family, model):
    with aim.reduce(model, METHODS[0]):
        word, cache = prefill(model, family.video_inputs())
        with pytest.raises(Refusal, match="Pickle it after the block"):
            pickle.dumps(cache)
    with pytest.raises(Refusal, match="Decode inside the block"):
        step(model, word, pickle.loads(pickle.dumps(cache)))
