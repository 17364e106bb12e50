"""`aim.reduce` on a stock model: equal to stock, to masking or to a shorter prompt, as the setting has it, and gone afterwards."""

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

import aim
from aim.kernels.merging import merge_clip
from aim.kernels.schedule import merged_per_clip, ramp
from tests.tiny import VIDEO, clip_inputs, fingerprint, llava_onevision, takes_features

GREEDY = {"max_new_tokens": 12, "do_sample": False}
SETTINGS = [
    {"merge_ratio": 1.0, "l1": 2, "l2": 5},
    {"merge_ratio": 0.5, "l1": 2, "l2": 5},
    {"merge_ratio": 0.25, "l1": 0, "l2": 3},
    {"merge_ratio": 0.25, "l1": 3, "l2": 4},
    {"merge_ratio": 0.25, "l1": 6, "l2": 7},
    {"merge_ratio": 0.1, "l1": 1, "l2": 20},
    {"merge_ratio": 0.5, "l1": 2, "l2": 5, "positions": "original"},
    {"merge_ratio": 0.5, "l1": 2, "l2": 5, "merge_window": 3},
    {"merge_ratio": 0.5, "l1": 2, "l2": 5, "merge_order": "official"},
    {"merge_ratio": 0.5, "l1": 2, "l2": 5, "damping": 0.2, "restart": "question"},
]


@pytest.fixture(scope="module")
def model():
    return llava_onevision()


def generate(model, inputs, **options):
    with torch.no_grad():
        return model.generate(**inputs, **{**GREEDY, **options})


def test_identity_setting_equals_stock_generate_token_for_token(model):
    inputs = clip_inputs()
    stock = generate(model, inputs, max_new_tokens=60)
    with aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=6, l2=7)) as trace:
        ours = generate(model, inputs, max_new_tokens=60)
    assert torch.equal(stock, ours)
    assert trace.tokens_per_layer == [(100, 10)] * 6


def test_full_method_equals_stock_logits_exactly(model):
    inputs = clip_inputs()
    with torch.no_grad():
        stock = model(**inputs).logits
        with aim.reduce(model, aim.Full()):
            ours = model(**inputs).logits
    assert torch.equal(stock, ours)


def test_sampling_with_the_identity_setting_draws_the_same_tokens_as_stock(model):
    inputs, options = clip_inputs(), {"do_sample": True, "temperature": 1.3, "max_new_tokens": 60}
    torch.manual_seed(7)
    stock = generate(model, inputs, **options)
    torch.manual_seed(7)
    with aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=6, l2=7)):
        ours = generate(model, inputs, **options)
    assert torch.equal(stock, ours)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_executed_lengths_cache_and_trace_follow_the_schedule(model, setting):
    frames, text = 4, 10
    with aim.reduce(model, aim.AIM(**setting)) as trace, torch.no_grad():
        output = model.generate(**clip_inputs(frames), **GREEDY, return_dict_in_generate=True)
    merged = merged_per_clip(setting["merge_ratio"], frames, 25, setting.get("merge_window", 1), setting.get("merge_order", "raster"))
    expected = [int(share * merged) for share in ramp(6, setting["l1"], setting["l2"])]
    assert trace.tokens_per_layer == [(visual, text) for visual in expected]
    assert trace.merged_tokens == merged
    assert trace.key_value_lengths == [visual + text for visual in expected]
    cached = [layer.keys.shape[-2] for layer in output.past_key_values.layers]
    assert cached == [visual + text + GREEDY["max_new_tokens"] - 1 for visual in expected]
    assert [len(alive) for alive in trace.survivors] == expected
    assert int(trace.group_sizes.sum()) == trace.visual_tokens == frames * 25
    assert torch.equal(torch.bincount(trace.assignment.flatten(), minlength=merged), trace.group_sizes)
    for earlier, later in zip(trace.survivors, trace.survivors[1:], strict=False):
        assert set(later.tolist()) <= set(earlier.tolist())
        assert later.tolist() == sorted(later.tolist())


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_survivors_are_the_highest_scores_of_the_layer_before(model, setting):
    with aim.reduce(model, aim.AIM(**setting)) as trace:
        generate(model, clip_inputs())
    for layer in range(1, 6):
        before, after = trace.survivors[layer - 1], trace.survivors[layer]
        if 0 < len(after) < len(before):
            best = sorted(range(len(before)), key=lambda i: -trace.scores[layer - 1][i])[: len(after)]
            assert after.tolist() == sorted(before[best].tolist())


def test_scores_equal_pagerank_on_the_attention_map_of_an_eager_model():
    model, inputs = llava_onevision(), clip_inputs()
    with aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=3, l2=5)) as trace:
        generate(model, inputs, max_new_tokens=1)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(**inputs, output_attentions=True).attentions[2][0].double()  # layer l1 - 1, [heads, n, n]
    sharper = weights**10  # softmax(z / 0.1) is softmax(z) to the tenth, normalised
    walk = sharper / sharper.sum(-1, keepdim=True)
    visits = torch.full((weights.shape[0], 1, weights.shape[-1]), 1 / weights.shape[-1], dtype=torch.float64)
    for _ in range(5):
        visits = visits @ walk
    expected = visits[:, 0].square().mean(0).sqrt()[3 : 3 + 100]
    torch.testing.assert_close(trace.scores[2].double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("l1", "l2"), [(0, 3), (2, 5), (4, 9)])
def test_slicing_tokens_away_equals_masking_them(model, l1, l2):
    inputs = clip_inputs()
    with aim.reduce(model, aim.AIM(merge_ratio=1.0, l1=l1, l2=l2)) as trace, torch.no_grad():
        sliced = model(**inputs).logits[0, -7:]
    length = inputs["input_ids"].shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()

    def hide(layer, _module, args, kwargs):
        visible = torch.ones(length, dtype=torch.bool)
        visible[3 : 3 + 100] = False
        visible[3 + trace.survivors[layer]] = True
        kwargs["attention_mask"] = (causal & visible | torch.eye(length, dtype=torch.bool))[None, None]
        return args, kwargs

    layers = model.model.language_model.layers
    hooks = [layer.register_forward_pre_hook(lambda m, a, k, i=i: hide(i, m, a, k), with_kwargs=True) for i, layer in enumerate(layers)]
    with torch.no_grad():
        masked = model(**inputs).logits[0, -7:]
    for hook in hooks:
        hook.remove()
    assert (sliced - masked).abs().max() <= 1e-5


@takes_features
def test_compact_positions_equal_a_prompt_with_fewer_placeholders(model):
    inputs, frames = clip_inputs(), 4
    with torch.no_grad():
        features = model.model.get_video_features(inputs["pixel_values_videos"], return_dict=True).pooler_output
        merged = merge_clip(features[0, :-1].view(frames, 25, -1), 0.25)
        shorter = torch.cat([merged.tokens, features[0, -1:]])[None]
        ids = inputs["input_ids"]
        ids = torch.cat([ids[:, :3], torch.full((1, shorter.shape[1]), VIDEO), ids[:, 3 + 101 :]], dim=1)
        expected = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_encoder_outputs={"video": BaseModelOutputWithPooling(pooler_output=shorter)},
            max_new_tokens=60,
            do_sample=False,
        )
    with aim.reduce(model, aim.AIM(merge_ratio=0.25, l1=6, l2=7)):
        ours = generate(model, inputs, max_new_tokens=60)
    assert torch.equal(ours[0, inputs["input_ids"].shape[1] :], expected[0, ids.shape[1] :])


def test_original_positions_stay_and_decoding_counts_on_from_the_prompt(model):
    seen = []
    hook = model.model.language_model.rotary_emb.register_forward_pre_hook(lambda m, args: seen.append(args[1].flatten().tolist()))
    inputs = clip_inputs()
    try:
        with aim.reduce(model, aim.AIM(merge_ratio=0.25, l1=2, l2=5, positions="original")) as trace:
            generate(model, inputs, max_new_tokens=4)
        original = seen.copy()
        seen.clear()
        with aim.reduce(model, aim.AIM(merge_ratio=0.25, l1=2, l2=5)):
            generate(model, inputs, max_new_tokens=4)
    finally:
        hook.remove()
    prompt = inputs["input_ids"].shape[1]
    assert original[0][:3] == [0, 1, 2]
    assert original[0][-7:] == list(range(prompt - 7, prompt))
    assert original[0][3:-7] == trace.positions.tolist() == sorted(set(trace.positions.tolist()))
    assert original[1:] == [[prompt], [prompt + 1], [prompt + 2]]
    kept = 4 * 6 + 10
    assert seen == [list(range(kept)), [kept], [kept + 1], [kept + 2]]


@pytest.mark.parametrize("sample", [False, True])
def test_decoding_goes_on_past_fifty_tokens(model, sample):
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)):
        output = generate(model, clip_inputs(), max_new_tokens=70, do_sample=sample)
    assert output.shape[1] == clip_inputs()["input_ids"].shape[1] + 70


def test_decoding_with_a_cache_equals_running_the_whole_prompt_anew_each_step(model):
    # Without a cache every step prefills prompt and answer together. With original positions and no PageRank to be swayed by
    # the answer's tokens (l1 - 1 → everything gone) both ways must choose the same words.
    method = aim.AIM(merge_ratio=0.5, l1=3, l2=4, positions="original")
    with aim.reduce(model, method):
        cached = generate(model, clip_inputs())
        anew = generate(model, clip_inputs(), use_cache=False)
    assert torch.equal(cached, anew)


def test_scoring_every_layer_changes_nothing_but_the_trace(model):
    method, inputs = aim.AIM(merge_ratio=0.5, l1=2, l2=5), clip_inputs()
    with aim.reduce(model, method) as needed:
        first = generate(model, inputs)
    with aim.reduce(model, method, scores="all") as every:
        second = generate(model, inputs)
    assert torch.equal(first, second)
    assert [score is not None for score in needed.scores] == [False, True, True, False, False, False]
    assert [score is not None for score in every.scores] == [True, True, True, True, False, False]


def test_every_run_leaves_the_model_as_it_was(model):
    inputs = clip_inputs()
    stock, before = generate(model, inputs), fingerprint(model)
    with aim.reduce(model, aim.AIM(merge_ratio=0.25, l1=2, l2=5)):
        generate(model, inputs)
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    assert torch.equal(generate(model, inputs), stock)


def test_an_exception_in_the_block_leaves_the_model_as_it_was(model):
    before = fingerprint(model)
    with pytest.raises(KeyError), aim.reduce(model, aim.AIM(l1=2, l2=5)):
        raise KeyError
    assert fingerprint(model) == before


@pytest.mark.parametrize("step", ["merge", "score", "kept"])
def test_a_method_that_raises_inside_a_layer_leaves_the_model_as_it_was(model, monkeypatch, step):
    def broken(*_args, **_kwargs):
        raise RuntimeError("inside a layer")

    inputs = clip_inputs()
    stock, before = generate(model, inputs), fingerprint(model)
    with monkeypatch.context() as patch:
        patch.setattr(aim.AIM, step, broken)
        with pytest.raises(RuntimeError, match="inside a layer"), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)):
            generate(model, inputs)
    assert fingerprint(model) == before
    assert torch.equal(generate(model, inputs), stock)


def test_a_model_loaded_with_another_attention_gets_it_back():
    model = llava_onevision()
    model.set_attn_implementation("eager")
    generate(model, clip_inputs())  # stock generate notes things on the model by itself
    before = fingerprint(model)
    with aim.reduce(model, aim.AIM(l1=2, l2=5)):
        generate(model, clip_inputs())
    assert fingerprint(model) == before


def test_two_clips_in_a_row_do_not_influence_each_other(model):
    method, first, second = aim.AIM(merge_ratio=0.5, l1=2, l2=5), clip_inputs(4, seed=1), clip_inputs(7, seed=2)
    alone = []
    for inputs in (first, second):
        with aim.reduce(model, method) as trace:
            alone.append((generate(model, inputs), trace.to_dict()))
    with aim.reduce(model, method) as trace:
        for inputs, (answer, expected) in zip((first, second), alone, strict=True):
            assert torch.equal(generate(model, inputs), answer)
            now = trace.to_dict()
            assert {k: v for k, v in now.items() if k != "timings"} == {k: v for k, v in expected.items() if k != "timings"}


def test_the_trace_counts_the_time_of_each_stage(model):
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        generate(model, clip_inputs())
    assert set(trace.timings) == {"merge", "importance", "llm_prefill"}
    assert all(seconds > 0 for seconds in trace.timings.values())
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5), scores="all") as trace:
        generate(model, clip_inputs())
    assert set(trace.timings) == {"merge", "importance", "inspection", "llm_prefill"} and trace.timings["inspection"] > 0
    assert trace.prefill_seconds == pytest.approx(sum(trace.timings.values()) - trace.timings["inspection"])


def test_the_bytes_of_the_cache_are_read_off_the_cache(model):
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace:
        generate(model, clip_inputs())
    assert trace.key_value_bytes == sum(trace.key_value_lengths) * 2 * 2 * 8 * 4  # keys and values, 2 heads of 8, float32


def test_the_papers_setting_is_scaled_to_the_models_depth():
    assert (aim.AIM().for_depth(28).l1, aim.AIM().for_depth(28).l2) == (14, 22)
    assert (aim.AIM().for_depth(12).l1, aim.AIM().for_depth(12).l2) == (6, 9)
    assert (aim.AIM(l1=11).for_depth(12).l1, aim.AIM(l1=11).for_depth(12).l2) == (11, 12)
    assert (aim.AIM(l2=3).for_depth(12).l1, aim.AIM(l2=3).for_depth(12).l2) == (2, 3)
