"""Decoding forward by forward, without `generate`: as stock where nothing is dropped, else as `generate` does."""

import pytest
import torch
from transformers import DynamicCache

import aim
from aim.kernels.refusal import Refusal
from tests.tiny import FAR_APART, TINY, own_cache

METHODS = [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.FastV(layer=2, keep_ratio=0.3), aim.PyramidDrop(ratio=0.5)]
WORDS = 5


@pytest.fixture(scope="module", params=FAR_APART)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def loop(model, inputs, cache=None, positions=None, words=WORDS):
    """(words, their logits) of a plain decoding loop; `positions` are those of the first word, where the caller counts them."""
    logits = []
    with torch.no_grad():
        given = own_cache(model) if cache is None else {"past_key_values": cache}
        output = model(**inputs, **given, use_cache=True)
        for step in range(words):
            logits.append(output.logits[:, -1])
            given = {} if positions is None else {"position_ids": positions + step}
            word = logits[-1].argmax(-1, keepdim=True)
            output = model(input_ids=word, past_key_values=output.past_key_values, use_cache=True, **given)
    logits = torch.stack(logits, dim=1)
    return logits.argmax(-1), logits


@pytest.mark.parametrize("own_cache", [True, False], ids=["a cache of one's own", "a cache the model makes"])
def test_the_full_method_equals_stock_word_for_word(family, model, own_cache):
    def cache():
        return DynamicCache(config=model.config.text_config) if own_cache else None

    inputs = family.video_inputs()
    _, stock = loop(model, inputs, cache())
    with aim.reduce(model, aim.Full()):
        _, ours = loop(model, inputs, cache())
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("seconds", [1.0, 3.0])
@pytest.mark.parametrize("frames", [4, 8])
def test_a_long_clip_goes_on_after_the_largest_position_as_stock_forwards_do(seconds, frames):
    model, tiny = TINY["qwen2_5_vl"].model(), TINY["qwen2_5_vl"]
    inputs = {**tiny.video_inputs(frames=frames), "second_per_grid_ts": torch.tensor([seconds])}
    _, stock = loop(model, inputs)
    with torch.no_grad():
        generated = model.generate(**inputs, max_new_tokens=WORDS, do_sample=False)
    with aim.reduce(model, aim.Full()):
        _, ours = loop(model, inputs)
        with torch.no_grad():
            assert torch.equal(model.generate(**inputs, max_new_tokens=WORDS, do_sample=False), generated)
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_picture_goes_on_after_the_largest_position_too(seed):
    # With no words behind a wide picture, its last column stands further out than its last token's row.
    model, tiny = TINY["qwen2_vl"].model(), TINY["qwen2_vl"]
    inputs = tiny.image_inputs(images=1, seed=seed, after=0)
    _, stock = loop(model, inputs)
    with aim.reduce(model, aim.Full()):
        _, ours = loop(model, inputs)
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_loop_says_what_generate_says(family, model, method):
    inputs = family.video_inputs()
    with aim.reduce(model, method) as trace:
        words, _ = loop(model, inputs)
        lengths = trace.key_value_lengths
        with torch.no_grad():
            generated = model.generate(**inputs, max_new_tokens=WORDS, do_sample=False)
    assert torch.equal(words[0], generated[0, -WORDS:])
    assert lengths == trace.key_value_lengths == family.cached([sum(counts) for counts in trace.tokens_per_layer])


@pytest.mark.parametrize("positions", ["compact", "original"])
def test_positions_that_the_caller_counts_from_the_whole_prompt_are_understood(positions):
    model, inputs = TINY["llava_onevision"].model(), TINY["llava_onevision"].video_inputs()
    length = inputs["input_ids"].shape[1]
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5, positions=positions)):
        _, told = loop(model, inputs, positions=torch.tensor([[length]]))
        _, untold = loop(model, inputs)
    torch.testing.assert_close(told, untold, atol=1e-5, rtol=1e-5)


def test_a_cache_of_an_earlier_prompt_is_refused(family, model):
    inputs = family.video_inputs()
    with aim.reduce(model, METHODS[0]), torch.no_grad():
        earlier = model(**inputs, **own_cache(model), use_cache=True).past_key_values
        model(**inputs, **own_cache(model), use_cache=True)
        with pytest.raises(ValueError, match="already holds tokens, and not those of the last prompt"):
            model(input_ids=torch.tensor([[5]]), past_key_values=earlier)


def test_without_a_cache_there_is_nothing_to_go_on_from(family, model):
    with aim.reduce(model, METHODS[0]) as trace, torch.no_grad():
        model(**family.video_inputs(), use_cache=False)
    assert trace.tokens_per_layer and trace.key_value_bytes == 0


@pytest.mark.parametrize("method", [aim.Full(), *METHODS], ids=lambda method: method.name)
def test_a_padded_batch_goes_on_as_each_of_its_prompts(family, model, method):
    batch, alone = family.batch_inputs()
    with aim.reduce(model, method):
        words, _ = loop(model, batch)
        for row, inputs in zip(words, alone, strict=True):
            assert torch.equal(row, loop(model, inputs)[0][0])


@pytest.mark.parametrize("method", [aim.Full(), METHODS[0]], ids=["full", "aim"])
def test_a_cache_that_was_cut_back_is_refused(family, model, method):
    if family.linear:
        pytest.skip("transformers itself refuses to cut back the state of a linear layer")
    with torch.no_grad(), aim.reduce(model, method):
        output = model(**family.video_inputs(), **own_cache(model), use_cache=True)
        word, cache = output.logits[:, -1].argmax(-1, keepdim=True), output.past_key_values
        model(input_ids=word, past_key_values=cache, use_cache=True)
        cache.crop(-1)
        with pytest.raises(Refusal, match="only grows"):
            model(input_ids=word, past_key_values=cache, use_cache=True)
