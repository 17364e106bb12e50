"""What each family costs: the vision tower's FLOPs against PyTorch's own counter, the paper's figures, plans of folders."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from aim.families import FAMILIES, PUBLISHED
from aim.kernels.cost import decode_flops, kv_bytes, linear_layer_flops, prefill_flops, vision_flops
from aim.kernels.grid import Grid
from aim.methods import AIM, Full
from aim.planning.plan import grid_of, plan, plan_for, shape_of
from tests.tiny import ANY_SIZE, EACH, TINY, pictures_of


def test_two_frames_of_qwen2_vl_are_one_step():
    planned = plan("qwen2-vl-7b", 15, 100, Full())
    assert planned.tokens_per_layer == [(8 * 299, 100)] * 28


@pytest.mark.parametrize("frames", [3, 100, 400])
def test_a_long_clip_of_qwen3_vl_is_planned_with_the_smaller_frames_it_gets(frames):
    config = PUBLISHED["qwen3-vl-8b"].config()
    planned = plan("qwen3-vl-8b", frames, 100, Full())
    assert planned.tokens_per_layer[0][0] == grid_of(config, frames).tokens
    assert planned.vision_tflops == plan_for(config, frames, 100, Full()).vision_tflops


def test_a_token_costs_the_experts_it_uses_and_memory_all_of_them():
    shape = shape_of(TINY["qwen3_vl_moe"].model().config)[0]
    layer = TINY["qwen3_vl_moe"].model().model.language_model.layers[0]
    stored = sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)
    assert shape.weights == 6 * stored
    unused = 3 * 3 * 24 * 32  # three of five experts
    assert shape.layer_weights == stored - unused


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe"])
def test_a_linear_layers_weights_are_the_models_and_its_cost_grows_with_the_tokens_alone(name):
    model = TINY[name].model()
    shape, _ = shape_of(model.config)
    linear, full = (
        sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in model.model.language_model.layers[:2]
    )
    unused = 3 * 32 * shape.unused_size
    assert (shape.linear_weights, shape.layer_weights) == (linear - unused, full - unused)
    assert shape.weights == 3 * linear + 3 * full and shape.scored_from == 1
    assert linear_layer_flops(shape, 900) == 9 * linear_layer_flops(shape, 100)
    lengths = [70, 60, 50, 40, 30, 20]
    half = [length // 2 if layer % 2 == 0 else length for layer, length in enumerate(lengths)]
    saved = sum(linear_layer_flops(shape, length) for length in lengths[::2]) // 2
    assert prefill_flops(shape, lengths) - prefill_flops(shape, half) == saved
    assert kv_bytes(shape, lengths) == 2 * 2 * 8 * 2 * (60 + 40 + 20)
    # A step costs a linear layer the same however long the prompt was.
    assert decode_flops(shape, lengths, 3) == decode_flops(shape, half, 3)


def test_the_layers_of_gemma4_have_the_weights_of_their_own_heads_and_experts_beside_the_mlp():
    model = TINY["gemma4"].model(enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=24)
    shape, _ = shape_of(model.config)
    stored = [sum(weight.numel() for weight in layer.parameters() if weight.dim() > 1) for layer in model.model.language_model.layers]
    assert [shape.of(layer).layer_weights + 3 * 3 * 24 * 32 for layer in range(6)] == stored and stored[2] != stored[0]
    assert shape.weights == sum(stored)
    assert kv_bytes(shape, [10] * 6) == 2 * 2 * 10 * (4 * 2 * 8 + 2 * 1 * 32)


@pytest.mark.parametrize(("visual", "tflops"), [(None, 8.18), (252 / 576, 2.22), (72 / 576, 1.00)])
def test_llava_1_5_costs_what_the_paper_says(visual, tflops):
    method = Full() if visual is None else AIM(merge_ratio=visual, l1=13, l2=21)
    # The paper's Vicuna rows count a second residual add, n · h a layer.
    planned = plan("llava-1.5-7b", 1, 40, method)
    second = sum(sum(pair) for pair in planned.tokens_per_layer) * 4096 / 1e12
    assert round(planned.prefill_tflops + second, 2) == tflops


@pytest.mark.parametrize("name", EACH)
def test_the_vision_towers_flops_equal_pytorchs_count(name):
    family, model = TINY[name], TINY[name].model()
    inputs, frames = family.video_inputs(6), 6 // family.step
    model.set_attn_implementation("eager")
    entry = FAMILIES[name]
    rows = (5, 7) if name in ANY_SIZE else (5, 5)
    _, vision = shape_of(model.config, Grid(frames, *rows))
    pixels = pictures_of(inputs)
    names = {"pixel_values": "get_image_features", "pixel_values_videos": "get_video_features"}
    run = next(getattr(model.model, method, model.model.get_image_features) for key, method in names.items() if key in pixels)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(*pixels.values())
    assert entry.vision_shape(model.config, Grid(frames, *rows)) == vision
    assert vision_flops(vision, frames) == counter.get_total_flops()


@pytest.mark.parametrize("name", EACH)
def test_a_checkpoint_folder_can_be_planned(name, tmp_path):
    model = TINY[name].model()
    model.config.save_pretrained(tmp_path)
    planned = plan(str(tmp_path), 4, 50, AIM(merge_ratio=0.5, l1=2, l2=5))
    grid = FAMILIES[name].grid(model.config, {}, 4, 360, 640)
    assert planned.tokens_per_layer[0] == (grid.frames * (grid.tokens_per_frame // 2), 50)
    assert planned.speedup > 1 and planned.vision_tflops > 0
