"""What each family costs: the vision tower's FLOPs against PyTorch's own counter, published names against configs, plans of folders."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from aim.families import FAMILIES
from aim.families.known import HUB_IDS, KNOWN, find_known
from aim.kernels.cost import vision_flops
from aim.kernels.grid import Grid
from aim.methods import AIM, Full
from aim.planning.plan import look_up, plan, shape_of
from tests.tiny import TINY

QWEN_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
QWEN_1_5B = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2}
QWEN_3B = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2}
VICUNA = {"model_type": "llama", "vocab_size": 32064}

# The parts of each checkpoint's config.json that differ from the defaults of its class in transformers.
PUBLISHED = {
    "llava-1.5-7b": ("llava", {"text_config": VICUNA}),
    "qwen2-vl-2b": ("qwen2_vl", {"text_config": {**QWEN_1_5B, "vocab_size": 151936}, "vision_config": {"hidden_size": 1536}}),
    "qwen2-vl-7b": ("qwen2_vl", {"text_config": {**QWEN_7B, "vocab_size": 152064}}),
    "qwen2.5-vl-3b": (
        "qwen2_5_vl",
        {"text_config": {**QWEN_3B, "vocab_size": 151936}, "vision_config": {"hidden_size": 1280, "out_hidden_size": 2048}},
    ),
    "qwen2.5-vl-7b": ("qwen2_5_vl", {"text_config": {**QWEN_7B, "vocab_size": 152064}, "vision_config": {"hidden_size": 1280}}),
    "internvl3-2b": ("internvl", {"text_config": {"model_type": "qwen2", **QWEN_1_5B, "vocab_size": 151674}}),
    "internvl3-8b": ("internvl", {"text_config": {"model_type": "qwen2", **QWEN_7B, "vocab_size": 151674}}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_known_name_equals_its_config(name):
    kind, parts = PUBLISHED[name]
    assert look_up(AutoConfig.for_model(kind, **parts)) == KNOWN[name]


@pytest.mark.parametrize(
    ("hub", "name"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl-7b"),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2.5-vl-3b"),
        ("OpenGVLab/InternVL3-8B-hf", "internvl3-8b"),
        ("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b"),
    ],
)
def test_a_hub_id_finds_its_entry(hub, name):
    assert look_up(hub) is KNOWN[name]


def test_two_frames_of_qwen2_vl_are_one_step():
    planned = plan("qwen2-vl-7b", 15, 100, Full())
    assert planned.tokens_per_layer == [(8 * 299, 100)] * 28


@pytest.mark.parametrize(("visual", "tflops"), [(None, 8.18), (252 / 576, 2.22), (72 / 576, 1.00)])
def test_llava_1_5_costs_what_the_paper_says(visual, tflops):
    method = Full() if visual is None else AIM(merge_ratio=visual, l1=13, l2=21)
    # The paper's Vicuna rows count a second residual add, n · h a layer.
    planned = plan("llava-1.5-7b", 1, 40, method)
    second = sum(sum(pair) for pair in planned.tokens_per_layer) * 4096 / 1e12
    assert round(planned.prefill_tflops + second, 2) == tflops


@pytest.mark.parametrize("name", TINY)
def test_the_vision_towers_flops_equal_pytorchs_count(name):
    family, model = TINY[name], TINY[name].model()
    inputs, frames = family.video_inputs(6), 6 // family.step
    model.set_attn_implementation("eager")
    entry = FAMILIES[name]
    rows = (5, 7) if name.startswith("qwen") else (5, 5)
    _, vision = shape_of(model.config, Grid(frames, *rows))
    pixels = {key: value for key, value in inputs.items() if "pixel" in key or "grid" in key}
    names = {"pixel_values": "get_image_features", "pixel_values_videos": "get_video_features"}
    run = next(getattr(model.model, method) for key, method in names.items() if key in pixels)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(*pixels.values())
    assert entry.vision_shape(model.config, Grid(frames, *rows)) == vision
    assert vision_flops(vision, frames) == counter.get_total_flops()


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_folder_can_be_planned(name, tmp_path):
    model = TINY[name].model()
    model.config.save_pretrained(tmp_path)
    planned = plan(str(tmp_path), 4, 50, AIM(merge_ratio=0.5, l1=2, l2=5))
    grid = FAMILIES[name].grid(model.config, {}, 4, 360, 640)
    assert planned.tokens_per_layer[0] == (grid.frames * (grid.tokens_per_frame // 2), 50)
    assert planned.speedup > 1 and planned.vision_tflops > 0


def test_every_known_model_is_found_by_its_hub_id():
    assert HUB_IDS.keys() == KNOWN.keys()
    assert all(find_known(hub_id) is KNOWN[name] for name, hub_id in HUB_IDS.items())
