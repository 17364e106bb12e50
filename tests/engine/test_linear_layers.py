"""Text models with layers of linear attention: such a layer never meets what is cut before it, and scores come from the others."""

import pytest
import torch
from transformers import DynamicCache
from transformers.models.qwen3_5.modeling_qwen3_5 import apply_rotary_pos_emb

import aim
from aim.bench.masked import masked
from aim.kernels.grid import Grid
from aim.planning.plan import plan_for
from tests.tiny import TINY, VIDEO, both_kinds

LAYERS, FULL = 8, (3, 7)  # as published: every fourth layer attends to keys


@pytest.fixture(scope="module")
def tiny():
    return TINY["qwen3_5"]


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.model(layers=LAYERS, full_attention_interval=4)


@pytest.fixture(scope="module")
def inputs(tiny):
    return tiny.video_inputs()


@pytest.mark.parametrize(
    "method",
    [
        *(aim.FastV(layer=layer, keep_ratio=0.4) for layer in (2, 4, 5, 7)),
        *(aim.VTW(layer=layer) for layer in (1, 3, 4, 6)),
        aim.AIM(merge_ratio=1.0, l1=4, l2=9),
        aim.AIM(merge_ratio=1.0, l1=0, l2=12),
    ],
    ids=str,
)
def test_a_cut_before_a_layer_of_any_kind_equals_hiding_the_tokens(tiny, model, inputs, method):
    for given in (inputs, both_kinds(tiny)):
        with torch.no_grad():
            with masked(model, method) as attended:
                hidden = model(**given).logits[:, -1]
            with aim.reduce(model, method) as trace:
                removed = model(**given).logits[:, -1]
        assert attended == [visual for visual, _ in trace.tokens_per_layer] and attended[-1] < trace.visual_tokens
        torch.testing.assert_close(removed, hidden, atol=1e-4, rtol=1e-4)


def stepped(model, layer, hidden):
    """What a linear layer keeps when it has met the tokens of `hidden` [1, n, C] one by one, as in decoding."""
    cache = DynamicCache(config=model.config.text_config)
    linear = model.model.language_model.layers[layer].linear_attn
    for step in range(hidden.shape[1]):
        linear(hidden_states=hidden[:, step : step + 1], cache_params=cache, attention_mask=None)
    return cache.layers[layer]


@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=4, l2=9), aim.VTW(layer=5), aim.FastV(layer=6, keep_ratio=0.3)], ids=str)
def test_the_state_of_a_linear_layer_is_that_of_the_tokens_left_met_one_by_one(model, inputs, method):
    layers, given, hooks = model.model.language_model.layers, {}, []
    with torch.no_grad(), aim.reduce(model, method) as trace:
        for index, layer in enumerate(layers):
            if index not in FULL:
                note = lambda _module, _args, kwargs, index=index: given.update({index: kwargs["hidden_states"]})  # noqa: E731
                hooks.append(layer.linear_attn.register_forward_pre_hook(note, with_kwargs=True))
        cache = model(**inputs, use_cache=True).past_key_values
        for hook in hooks:
            hook.remove()
        for index, hidden in given.items():
            assert hidden.shape[1] == sum(trace.tokens_per_layer[index])
            alone, held = stepped(model, index, hidden), cache.layers[index]
            torch.testing.assert_close(held.recurrent_states[0], alone.recurrent_states[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(held.conv_states[0], alone.conv_states[0], atol=1e-4, rtol=1e-4)


def test_cuts_up_to_the_next_layer_with_keys_go_by_one_layers_scores(model, inputs):
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=4, l2=12)) as trace:
        model(**inputs)
    counts = [visual for visual, _ in trace.tokens_per_layer]
    assert counts[3] > counts[4] > counts[5] > counts[6] > counts[7] > 0
    assert trace.scored_layers == [3]
    for layer in range(4, 8):
        best = trace.scores[3].argsort(descending=True, stable=True)[: counts[layer]].sort().values
        assert torch.equal(trace.survivors[layer], trace.survivors[3][best])


EARLY = [aim.AIM(merge_ratio=0.5, l1=0, l2=12), aim.FastV(layer=1, keep_ratio=0.3), aim.AIM(merge_ratio=0.5, l1=1, l2=3), aim.VTW(layer=2)]


@pytest.mark.parametrize("method", EARLY, ids=str)
def test_before_the_first_layer_with_keys_nothing_is_chosen_and_the_plan_says_so(model, inputs, method):
    with torch.no_grad(), aim.reduce(model, method) as trace:
        model(**inputs, use_cache=True)
    planned = plan_for(model.config, 4, trace.tokens_per_layer[0][1], method, 4, Grid(*trace.grids[0]))
    assert planned.tokens_per_layer == trace.tokens_per_layer
    assert planned.kv_bytes == trace.key_value_bytes == sum(trace.key_value_lengths) * 2 * 2 * 8 * 4
    counts = [visual for visual, _ in trace.tokens_per_layer]
    assert all(count in (counts[0], 0) for count in counts[:4])


@pytest.mark.parametrize("stage", [2, 3, 5, 7])
def test_a_look_ahead_asks_the_next_layer_with_keys_what_it_would_make_of_the_tokens(model, inputs, stage):
    layers, seen = model.model.language_model.layers, {}
    with torch.no_grad(), aim.reduce(model, aim.PyramidDrop(ratio=0.5, stages=(stage,))) as trace:
        model(**inputs)
    counts = [visual for visual, _ in trace.tokens_per_layer]
    assert counts[stage] < counts[stage - 1] == counts[0]
    # What the stock model has before that layer, since nothing was cut yet.
    hook = layers[stage].register_forward_pre_hook(lambda _module, args, kwargs: seen.update(hidden=args[0], **kwargs), with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    probed = layers[min(full for full in FULL if full >= stage)]
    with torch.no_grad():
        normed = probed.input_layernorm(seen["hidden"])
        query = probed.self_attn.q_proj(normed).unflatten(-1, (4, 16))[..., :8]  # each head's queries, then its gate
        key = probed.self_attn.k_proj(normed).unflatten(-1, (2, 8))
        query, key = probed.self_attn.q_norm(query).transpose(1, 2), probed.self_attn.k_norm(key).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *seen["position_embeddings"])
        weights = torch.softmax(query[0, :, -1:] @ key[0].repeat_interleave(2, dim=0).transpose(-1, -2) * 8**-0.5, dim=-1)
    places = (inputs["input_ids"][0] == VIDEO).nonzero().flatten()
    best = weights.mean((0, 1))[places].argsort(descending=True)[: counts[stage]].sort().values
    assert torch.equal(trace.survivors[stage], best)


@pytest.mark.parametrize(
    "method", [aim.Full(), aim.AIM(merge_ratio=0.5, l1=4, l2=9), aim.FastV(layer=5, keep_ratio=0.4)], ids=lambda method: method.name
)
def test_a_padded_batch_leaves_each_prompt_the_state_it_has_alone(tiny, model, method):
    batch, alone = tiny.batch_inputs()
    with torch.no_grad(), aim.reduce(model, method):
        together = model(**batch, use_cache=True)
        for row, inputs in enumerate(alone):
            single = model(**inputs, use_cache=True)
            torch.testing.assert_close(together.logits[row, -1], single.logits[0, -1], atol=1e-4, rtol=1e-4)
            for layer in set(range(LAYERS)) - set(FULL):
                ours, own = together.past_key_values.layers[layer], single.past_key_values.layers[layer]
                torch.testing.assert_close(ours.recurrent_states[0][row], own.recurrent_states[0][0], atol=1e-4, rtol=1e-4)
                torch.testing.assert_close(ours.conv_states[0][row], own.conv_states[0][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}], ids=str)
def test_beams_and_several_answers_equal_stock_where_nothing_is_dropped(tiny, model, options):
    options, inputs, answers = {"max_new_tokens": 8, "do_sample": False, **options}, both_kinds(tiny), []
    with torch.no_grad():
        torch.manual_seed(3)
        stock = model.generate(**inputs, **options)
        for method in (aim.Full(), aim.AIM(merge_ratio=0.5, l1=2, l2=7)):
            torch.manual_seed(3)
            with aim.reduce(model, method) as trace:
                answers.append(model.generate(**inputs, **options))
    assert torch.equal(answers[0], stock) and answers[1].shape == stock.shape
    assert len({str(record.tokens_per_layer) for record in trace.prompts}) == 1 < len(trace.prompts)
