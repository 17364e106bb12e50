"""The cost model against FLOPs counted while tiny models run, a real KV cache, and the overheads the paper states.

PyTorch's counter sees matrix products and convolutions only, so it is held against those terms; the rest of the paper's account (softmax,
norms, residual, activation) is checked as a sum by the paper's table, in test_plan.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Qwen2Config, Qwen2Model, SiglipVisionConfig, SiglipVisionModel

from aim.kernels.attention_merging import merge_by_attention
from aim.kernels.cost import (
    ModelShape,
    VisionShape,
    attention_merge_flops,
    causal_prefill_flops,
    decode_flops,
    kv_bytes,
    last_token_flops,
    layer_flops,
    lm_head_flops,
    look_ahead_flops,
    merge_flops,
    pagerank_flops,
    prefill_flops,
    vision_flops,
)
from aim.kernels.importance import last_token_attention, pagerank
from aim.kernels.merging import merge_tokens
from aim.kernels.schedule import ramp, tokens_kept
from aim.kernels.shape import LinearShape
from aim.kernels.tower_attention import TowerAttention

TINY = ModelShape(num_layers=3, hidden_size=48, intermediate_size=80, num_heads=6, num_key_value_heads=2, head_dim=8, vocab_size=100)
QWEN2_7B = ModelShape(28, 3584, 18944, 28, 4, 128, 152064)


def tiny_qwen2() -> Qwen2Model:
    config = Qwen2Config(
        num_hidden_layers=TINY.num_layers,
        hidden_size=TINY.hidden_size,
        intermediate_size=TINY.intermediate_size,
        num_attention_heads=TINY.num_heads,
        num_key_value_heads=TINY.num_key_value_heads,
        vocab_size=TINY.vocab_size,
        attn_implementation="eager",
    )
    return Qwen2Model(config).eval()


def counted(counter: FlopCounterMode, module: str) -> int:
    return sum(counter.get_flop_counts()[module].values())


@pytest.mark.parametrize("tokens", [1, 13, 40])
def test_a_layers_matrix_products_are_those_that_run(tokens: int):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tiny_qwen2()(input_ids=torch.zeros(1, tokens, dtype=torch.long))
    measured = counted(counter, "Qwen2Model.layers.0")
    products = 2 * tokens * TINY.layer_weights + 4 * tokens**2 * TINY.num_heads * TINY.head_dim
    assert measured == products
    assert layer_flops(TINY, tokens) == products + 5 * TINY.num_heads * tokens**2 + 17 * tokens * TINY.hidden_size


def test_a_layers_weights_are_the_models():
    layer = tiny_qwen2().layers[0]
    assert TINY.layer_weights == sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim == 2)


def test_the_prefill_is_the_sum_of_its_layers():
    head = TINY.hidden_size * TINY.vocab_size
    assert prefill_flops(TINY, [40, 20, 5]) == layer_flops(TINY, 40) + layer_flops(TINY, 20) + layer_flops(TINY, 5) + head


def test_so_does_one_with_layers_of_linear_attention():
    linear = LinearShape(key_heads=2, value_heads=4, key_dim=8, value_dim=6, kernel=4)
    shape, tokens = replace(TINY, linear=linear, linear_layers=(0, 2)), 9
    left_out = 5 * TINY.num_heads * 45 + 9 * 17 * TINY.hidden_size * TINY.num_layers
    steps = decode_flops(shape, [0] * TINY.num_layers, tokens) - (tokens - 1) * lm_head_flops(TINY)
    assert causal_prefill_flops(shape, [tokens] * TINY.num_layers) == steps - left_out


def test_a_causal_prefill_computes_what_decoding_its_tokens_one_by_one_does():
    """Decoding meets no token of the future. Of its steps only the last needs a head; softmax and norms are left out."""
    tokens, left_out = 9, 5 * TINY.num_heads * 45 * TINY.num_layers + 9 * 17 * TINY.hidden_size * TINY.num_layers
    steps = decode_flops(TINY, [0] * TINY.num_layers, tokens) - (tokens - 1) * lm_head_flops(TINY)
    assert causal_prefill_flops(TINY, [tokens] * TINY.num_layers) == steps - left_out


def test_decoding_steps_count_the_products_that_run():
    model, cache = tiny_qwen2(), DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 17, dtype=torch.long), past_key_values=cache)
        with FlopCounterMode(display=False) as counter:
            for _ in range(4):
                model(input_ids=torch.zeros(1, 1, dtype=torch.long), past_key_values=cache)
    measured = sum(counted(counter, f"Qwen2Model.layers.{layer}") for layer in range(TINY.num_layers))
    softmax = sum(5 * TINY.num_heads * (17 + step) * TINY.num_layers for step in (1, 2, 3, 4))
    rest = 4 * (TINY.num_layers * 17 * TINY.hidden_size + lm_head_flops(TINY))
    assert decode_flops(TINY, [17] * 3, 4) == measured + softmax + rest
    assert decode_flops(TINY, [17] * 3, 0) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kv_bytes_are_those_of_a_real_cache(dtype: torch.dtype):
    model, cache = tiny_qwen2().to(dtype), DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.zeros(1, 17, dtype=torch.long), past_key_values=cache)
    measured = sum(tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert kv_bytes(TINY, [17] * 3, bytes_per_value=dtype.itemsize) == measured


def test_a_window_bounds_what_is_kept_and_what_a_step_attends_to():
    windowed = replace(TINY, window=10, windowed_layers=(0, 2))
    assert kv_bytes(windowed, [17, 5, 6]) == kv_bytes(TINY, [9, 5, 6])
    for_each_entry = (4 * TINY.head_dim + 5) * TINY.num_heads
    beyond = sum(17 + step - 10 for step in (1, 2, 3, 4))
    assert decode_flops(TINY, [17] * 3, 4) - decode_flops(windowed, [17] * 3, 4) == 2 * beyond * for_each_entry


@pytest.mark.parametrize("function", [prefill_flops, causal_prefill_flops, kv_bytes])
def test_one_length_for_each_layer_is_insisted_on(function):
    with pytest.raises(ValueError, match=r"2 numbers; the model has 3 layers"):
        function(TINY, [5, 5])


def test_the_output_head_is_one_positions_product():
    head = torch.nn.Linear(TINY.hidden_size, TINY.vocab_size, bias=False)
    with FlopCounterMode(display=False) as counter:
        head(torch.zeros(1, TINY.hidden_size))
    assert lm_head_flops(TINY) == counter.get_total_flops()


def test_the_vision_towers_matrix_products_are_those_that_run():
    config = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=28,
        patch_size=7,
        attn_implementation="eager",
    )
    config.vision_use_head = False
    tower = SiglipVisionModel(config).eval()
    projector = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.Linear(48, 48))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        projector(tower(torch.zeros(3, 3, 28, 28)).last_hidden_state)
    vision = VisionShape(2, 32, 56, patches_per_frame=16, patch_pixels=3 * 7 * 7, projector_size=48)
    assert vision_flops(vision, frames=3) == counter.get_total_flops()


@pytest.mark.parametrize(("tokens", "target"), [(16, 16), (16, 8), (16, 3), (9, 2), (2, 1)])
def test_merging_counts_the_similarities_that_run(tokens: int, target: int):
    with FlopCounterMode(display=False) as counter:
        merge_tokens(torch.randn(3, tokens, 12), target)
    rest, left = 0, tokens
    while left > target:
        removed = min(left - target, left // 2)
        rest += 3 * left + removed + left // 2
        left -= removed
    assert merge_flops(12, 3, tokens, target) == counter.get_total_flops() + 3 * 12 * rest


def test_merging_32_frames_costs_a_few_gigaflops():
    # Frame by frame, the paper's setting takes 2.75 GFLOPs of similarities: 32 · 3584 · 2 · (98² + 49²).
    assert round(32 * 3584 * 2 * (98**2 + 49**2) / 1e9, 2) == 2.75
    assert merge_flops(3584, 32, 196, 49) == pytest.approx(2.75e9, rel=0.06)


def test_weighted_means_cost_one_product_a_token_from_the_second_step_on():
    # 16 → 8 → 4: the second step weighs 8 tokens of 12 channels, in each of 3 windows.
    assert merge_flops(12, 3, 16, 8, weighted=True) == merge_flops(12, 3, 16, 8)
    assert merge_flops(12, 3, 16, 4, weighted=True) == merge_flops(12, 3, 16, 4) + 3 * 8 * 12


def test_merging_by_attention_counts_the_products_that_run():
    # 2 frames of 9 tokens, 5 and 4 left, so 4 and 3 kept; keys of 6 channels, embeddings of 12, 25 patches behind the 9 tokens.
    tower = TowerAttention(torch.rand(2, 9), torch.randn(2, 9, 6))
    queries, keys = torch.randn(2, 25, 6), torch.randn(2, 6, 25)
    with FlopCounterMode(display=False) as counter:
        merge_by_attention(torch.randn(2, 9, 12), tower, [5, 4], neighbours=3)
        queries @ keys
    # The products run over all 9 tokens, those not taken in with weight 0; what is counted is the 3 that are taken in, and the rest's sum.
    as_they_run = counter.get_total_flops() - 2 * 7 * 9 * 12
    vision = VisionShape(2, 6, 24, patches_per_frame=25, patch_pixels=48)
    assert attention_merge_flops(12, vision, 2, 9, 9, 3) == as_they_run + 3 * 18 * 6 + 2 * 7 * 3 * 12 + 2 * 11 * 12


def test_looking_ahead_counts_the_projections_that_run():
    layer = tiny_qwen2().layers[0].self_attn
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for n in (21, 9):
            layer.q_proj(torch.zeros(n, TINY.hidden_size)), layer.k_proj(torch.zeros(n, TINY.hidden_size))
    assert look_ahead_flops(TINY, [21, 9]) == counter.get_total_flops() + 7 * 30 * TINY.hidden_size


def test_merging_to_a_target_out_of_range_is_refused():
    for target in (0, 17):
        with pytest.raises(ValueError, match="1 to 16"):
            merge_flops(12, 3, 16, target)


def test_pagerank_counts_the_scores_that_run():
    lengths, iterations = [21, 9], 5
    with FlopCounterMode(display=False) as counter:
        for n in lengths:
            pagerank(torch.randn(6, n, 8), torch.randn(2, n, 8), 0.3, iterations=iterations)
    squares = sum(n**2 for n in lengths)
    walk = 2 * iterations * 6 * squares
    scores = 2 * 8 * 6 * squares
    assert counter.get_total_flops() in (scores, scores + walk)  # versions differ in whether vector times matrix is counted
    assert pagerank_flops(TINY, lengths, iterations) == scores + walk + 6 * 6 * squares


def test_pagerank_without_its_scores_is_the_papers_4_gigaflops():
    lengths = [kept + 100 for kept in tokens_kept(ramp(28, 14, 22), 1568)][13:21]
    without_scores = pagerank_flops(QWEN2_7B, lengths, 5) - 28 * 2 * 128 * sum(n**2 for n in lengths)
    assert round(without_scores / 1e9, 2) == 4.18


def test_last_token_attention_counts_the_scores_that_run():
    lengths = [21, 9]
    with FlopCounterMode(display=False) as counter:
        for n in lengths:
            last_token_attention(torch.randn(6, n, 8), torch.randn(2, n, 8), 0.3)
    softmax = 5 * 6 * sum(lengths)
    assert last_token_flops(TINY, lengths) == counter.get_total_flops() + softmax


def test_last_token_attention_is_what_one_decoding_step_scores():
    # A step after n - 1 tokens scores n; beside the scores and their softmax it mixes the values and runs the rest of the layer.
    n, shape = 40, TINY
    rest = 2 * shape.layer_weights + 17 * shape.hidden_size + 2 * n * shape.num_heads * shape.head_dim
    step = decode_flops(shape, [n - 1] * shape.num_layers, 1) - lm_head_flops(shape)
    assert shape.num_layers * (last_token_flops(shape, [n]) + rest) == step
