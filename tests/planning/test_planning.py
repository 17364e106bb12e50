"""Plans against the paper's FLOPs table, and for configs on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlavaOnevisionConfig, Qwen2Config, Qwen2Model, SiglipVisionConfig

from aim.kernels.cost import decode_flops, kv_bytes, merge_flops, prefill_flops
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import tokens_kept
from aim.methods import AIM, Full
from aim.planning.plan import cost_of, look_up, plan, plan_for, shape_of, tokens_per_frame

SEVEN_B = "llava-onevision-qwen2-7b"


def tiny_config(**text) -> LlavaOnevisionConfig:
    knobs = {
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 99,
        **text,
    }
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, image_size=40, patch_size=8
    )
    return LlavaOnevisionConfig(text_config=Qwen2Config(**knobs), vision_config=vision, image_token_id=4, video_token_id=5)


# The poster's table for LLaVA-OneVision-7B, 32 frames, 100 text tokens.
@pytest.mark.parametrize(
    ("merge_ratio", "l1", "l2", "tflops"),
    [
        (1, 28, 29, 99.63),
        (0.5, 28, 29, 46.48),
        (0.25, 28, 29, 22.90),
        (0.063, 28, 29, 6.41),
        (0.031, 28, 29, 3.85),
        (0.016, 28, 29, 2.57),
        (0.25, 21, 29, 20.15),
        (0.25, 14, 29, 17.41),
        (0.25, 21, 22, 17.50),
        (0.25, 14, 22, 14.76),
        (0.25, 7, 22, 12.01),
        (0.25, 14, 15, 12.10),
        (0.25, 7, 15, 9.36),
        (0.25, 7, 8, 6.71),
    ],
)
def test_the_plan_prints_the_papers_tflops(merge_ratio: float, l1: int, l2: int, tflops: float):
    planned = plan(SEVEN_B, 32, 100, AIM(merge_ratio=merge_ratio, l1=l1, l2=l2))
    assert round(planned.prefill_tflops, 2) == tflops
    assert round(planned.baseline_tflops, 2) == 99.63


def test_192_merged_and_pruned_frames_cost_what_32_whole_ones_do():
    assert round(plan(SEVEN_B, 192, 100, AIM(merge_ratio=0.25, l1=14, l2=22)).prefill_tflops, 2) == 99.27


def test_the_row_where_the_papers_output_head_shows_in_the_last_digit():
    # The paper adds the output head as h · vocabulary, 0.0005 TFLOPs; without it this row would print as 11.63.
    planned = plan(SEVEN_B, 32, 100, AIM(merge_ratio=0.125, l1=28, l2=29))
    assert round(planned.prefill_tflops, 2) == 11.64
    assert round(planned.prefill_tflops - planned.lm_head_tflops / 2, 2) == 11.63


def test_the_row_where_the_papers_rounded_slope_shows_in_the_last_digit():
    # The paper rounds the ramp's slope 1 / (l2 - l1) to four decimals; with (7, 29) that is 14.66 instead of 14.67.
    rounded = [1.0] * 7 + [max(0.0, 1 - (i - 6) * 0.0455) for i in range(7, 28)]
    lengths = [visual + 100 for visual in tokens_kept(rounded, 1568)]
    assert round(prefill_flops(look_up(SEVEN_B).shape, lengths) / 1e12, 2) == 14.66
    assert round(plan(SEVEN_B, 32, 100, AIM(merge_ratio=0.25, l1=7, l2=29)).prefill_tflops, 2) == 14.67


def test_the_defaults_are_the_papers_main_row():
    planned = plan(SEVEN_B)
    assert round(planned.prefill_tflops, 2) == 14.76
    assert planned.speedup == pytest.approx(99.63 / 14.76, rel=1e-3)
    assert planned.tokens_per_layer[13:16] == [(1568, 100), (1372, 100), (1176, 100)]
    assert planned.kv_bytes == kv_bytes(look_up(SEVEN_B).shape, [visual + text for visual, text in planned.tokens_per_layer])
    assert planned.baseline_kv_bytes == 2 * 4 * 128 * 2 * 28 * 6372


@pytest.mark.parametrize(
    ("name", "parameters", "tied"),
    [("llava-onevision-qwen2-0.5b", 0.494e9, True), (SEVEN_B, 7.616e9, False), ("llava-onevision-qwen2-72b", 72.71e9, False)],
)
def test_the_known_shapes_have_the_published_number_of_parameters(name: str, parameters: float, tied: bool):
    shape = look_up(name).shape
    embeddings = shape.vocab_size * shape.hidden_size * (1 if tied else 2)
    assert shape.num_layers * shape.layer_weights + embeddings == pytest.approx(parameters, rel=2e-3)
    assert look_up(name).tokens_per_frame == 196


@pytest.mark.parametrize("model", ["llava-hf/llava-onevision-qwen2-7b-ov-hf", "llava-hf/llava-onevision-qwen2-7b-ov-chat-hf"])
def test_a_hub_id_names_the_same_model(model: str):
    assert plan(model) == plan(SEVEN_B)


def test_the_layers_scale_to_the_models_depth():
    tokens = plan("llava-onevision-qwen2-0.5b", 32, 100).tokens_per_layer
    assert [visual for visual, _ in tokens[:13]] == [1568] * 12 + [1344]
    assert tokens[18:] == [(0, 100)] * 6


def test_the_full_model_costs_itself():
    planned = plan(SEVEN_B, method=Full())
    assert planned.speedup == 1
    assert planned.kv_bytes == planned.baseline_kv_bytes
    assert planned.merge_tflops == planned.importance_tflops == 0
    assert planned.vision_tflops == plan(SEVEN_B).vision_tflops > 0


def test_what_a_method_does_not_do_costs_nothing():
    merge_only = plan(SEVEN_B, method=AIM(l1=28, l2=29))
    assert merge_only.importance_tflops == 0 < merge_only.merge_tflops
    prune_only = plan(SEVEN_B, method=AIM(merge_ratio=1.0))
    assert prune_only.merge_tflops == 0 < prune_only.importance_tflops


def test_only_layers_whose_scores_decide_are_counted_as_scored():
    # With (7, 8) everything goes at once: nothing to choose, so nothing is scored.
    assert plan(SEVEN_B, method=AIM(l1=7, l2=8)).importance_tflops == 0
    # With (7, 9) half stays in layer 7, chosen by layer 6, and none after it.
    assert plan(SEVEN_B, method=AIM(l1=7, l2=9)).importance_tflops == pytest.approx(28 * (256 + 16) * 1668**2 / 1e12)


def test_merging_windows_of_frames_is_charged_by_the_window():
    planned = plan(SEVEN_B, 5, 100, AIM(merge_window=2))
    expected = merge_flops(3584, 2, 392, 98) + merge_flops(3584, 1, 196, 49)
    assert planned.merge_tflops == pytest.approx(expected / 1e12)
    assert planned.tokens_per_layer[0] == (2 * 98 + 49, 100)


def test_a_plan_is_one_json_object():
    planned = plan(SEVEN_B)
    loaded = json.loads(json.dumps(planned.to_dict()))
    assert set(loaded) == {
        "prefill_tflops",
        "baseline_tflops",
        "speedup",
        "causal_speedup",
        "kv_bytes",
        "baseline_kv_bytes",
        "vision_tflops",
        "baseline_vision_tflops",
        "merge_tflops",
        "importance_tflops",
        "lm_head_tflops",
        "tokens_per_layer",
    }
    assert loaded["tokens_per_layer"] == [list(pair) for pair in planned.tokens_per_layer]


def test_a_folder_is_planned_from_its_config(tmp_path: Path):
    tiny_config().save_pretrained(tmp_path)
    planned = plan(str(tmp_path), 4, 10, Full())
    assert planned.tokens_per_layer == [(4 * 9, 10)] * 4
    assert planned == plan_for(tiny_config(), 4, 10, Full())


def test_shapes_are_read_off_the_config():
    config = tiny_config()
    shape, vision = shape_of(config)
    with torch.device("meta"):
        layer = Qwen2Model(config.text_config).layers[0]
    assert shape.layer_weights == sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim == 2)
    assert (shape.num_layers, shape.num_key_value_heads, shape.head_dim, shape.vocab_size) == (4, 2, 8, 99)
    assert (vision.patches_per_frame, vision.patch_pixels, vision.projector_size) == (25, 192, 48)
    assert tokens_per_frame(config) == 9


def test_heads_may_have_a_size_of_their_own():
    assert shape_of(tiny_config(head_dim=16))[0].head_dim == 16


def test_the_cost_of_a_run_is_its_plan_when_it_ran_as_planned():
    config, method = tiny_config(), AIM(merge_ratio=0.5, l1=1, l2=4)
    planned = plan_for(config, 4, 10, method, bytes_per_value=4)
    cost = cost_of(config, planned.tokens_per_layer, 4, 36, method, bytes_per_value=4)
    expected = planned.to_dict()
    del expected["tokens_per_layer"]
    assert cost == expected | {"decode_tflops": 0}
    lengths = [sum(pair) for pair in planned.tokens_per_layer]
    answered = cost_of(config, planned.tokens_per_layer, 4, 36, method, new_tokens=6)
    assert answered["decode_tflops"] == decode_flops(shape_of(config)[0], lengths, 5) / 1e12


@pytest.mark.parametrize("model", ["no-such-model", "somebody/some-model", ""])
def test_an_unknown_model_is_answered_with_the_known_ones(model: str):
    with pytest.raises(Refusal, match=SEVEN_B):
        plan(model)


def test_a_folder_without_a_config_is_refused(tmp_path: Path):
    with pytest.raises(Refusal, match=r"config\.json"):
        plan(str(tmp_path))


def test_a_broken_config_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Refusal, match="cannot be read"):
        plan(str(tmp_path))


def test_another_family_is_refused(tmp_path: Path):
    tiny_config().text_config.save_pretrained(tmp_path)
    with pytest.raises(Refusal, match="qwen2"):
        plan(str(tmp_path))


@pytest.mark.parametrize(("frames", "text", "message"), [(0, 100, "num_frames is 0"), (-1, 100, "num_frames"), (32, 0, "text_tokens is 0")])
def test_counts_out_of_range_are_refused(frames: int, text: int, message: str):
    with pytest.raises(Refusal, match=message):
        plan(SEVEN_B, frames, text)
