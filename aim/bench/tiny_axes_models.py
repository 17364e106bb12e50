"""Tiny random models whose positions have three axes; see `aim.bench.tiny_models`."""

from __future__ import annotations

import torch
from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from aim.bench.tiny_models import IMAGE, TEXT, VIDEO, VISION, ready

MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
QWEN = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 95, "vision_end_token_id": 96}
GLM = {"image_token_id": IMAGE, "video_token_id": VIDEO, "image_start_token_id": 95, "image_end_token_id": 96}
GLM |= {"video_start_token_id": 92, "video_end_token_id": 93}
QWEN_VISION = {"patch_size": 4, "num_heads": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "initializer_range": 0.3}


def qwen2_vl(layers=6, seed=0, **text):
    """Qwen2-VL: two frames are one step of 5 x 7 tokens (10 x 14 patches)."""
    config = Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": dict(MROPE), "num_hidden_layers": layers, **text},
        vision_config={**QWEN_VISION, "depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
        **QWEN,
    )
    return ready(Qwen2VLForConditionalGeneration, config, seed)


def qwen2_5_vl(layers=6, seed=0, full=(1, 3), **text):
    """Qwen2.5-VL: as Qwen2-VL, its tower attending within windows of 2 x 2 tokens except in the layers `full`."""
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": dict(MROPE), "num_hidden_layers": layers, **text},
        vision_config={
            **QWEN_VISION,
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "window_size": 16,
            "fullatt_block_indexes": list(full),
        },
        **QWEN,
    )
    return ready(Qwen2_5_VLForConditionalGeneration, config, seed)


def glm4v(layers=6, seed=0, kinds=(Glm4vConfig, Glm4vForConditionalGeneration), **text):
    """GLM-4.1V: two frames are one step of 5 x 7 tokens (10 x 14 patches)."""
    config = kinds[0](
        text_config={**TEXT, "model_type": "glm4v_text", "rope_parameters": dict(MROPE), "num_hidden_layers": layers, **text},
        vision_config={**QWEN_VISION, "depth": 2, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "image_size": 20},
        **GLM,
    )
    return ready(kinds[1], config, seed)


def glm46v(layers=6, seed=0, **text):
    """GLM-4.6V: as GLM-4.1V."""
    return glm4v(layers, seed, (Glm46VConfig, Glm46VForConditionalGeneration), **text)


def glm4v_moe(layers=6, seed=0, **text):
    """GLM-4.5V: as GLM-4.1V, with 5 experts in every LLM layer from the third on, of which a token uses 2, and one more that all use. Half
    of a head's numbers are turned by their position."""
    experts = {"n_routed_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 2, "head_dim": 8}
    half = {**MROPE, "mrope_section": [0, 1, 1], "partial_rotary_factor": 0.5}
    given = {"model_type": "glm4v_moe_text", **experts, "rope_parameters": half, **text}
    return glm4v(layers, seed, (Glm4vMoeConfig, Glm4vMoeForConditionalGeneration), **given)


INTERLEAVED = {**MROPE, "mrope_interleaved": True}
QWEN3_VISION = {
    **QWEN_VISION,
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "out_hidden_size": 32,
    "num_position_embeddings": 36,
}


def qwen3_vl(layers=6, seed=0, **text):
    """Qwen3-VL: as Qwen2-VL, with features of the tower's layers 0, 1 and 2 for the LLM's."""
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 8, "rope_parameters": dict(INTERLEAVED), "num_hidden_layers": layers, **text},
        vision_config={**QWEN3_VISION, "deepstack_visual_indexes": [0, 1, 2]},
        **QWEN,
    )
    return ready(Qwen3VLForConditionalGeneration, config, seed)


EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def qwen3_vl_moe(layers=6, seed=0, **text):
    """Qwen3-VL with 5 experts a layer, of which a token uses 2."""
    experts = {**EXPERTS, "mlp_only_layers": [], "tie_word_embeddings": False}
    config = Qwen3VLMoeConfig(
        text_config={**TEXT, **experts, "head_dim": 8, "rope_parameters": dict(INTERLEAVED), "num_hidden_layers": layers, **text},
        vision_config={**QWEN3_VISION, "deepstack_visual_indexes": [0, 1, 2]},
        **QWEN,
    )
    return ready(Qwen3VLMoeForConditionalGeneration, config, seed)


LINEAR = {
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "full_attention_interval": 2,
}
# Half of a head's numbers are turned by their position.
HALF = {**INTERLEAVED, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}


def qwen3_5(layers=6, seed=0, **text):
    """Qwen3.5: as Qwen3-VL without DeepStack; every second layer of its LLM, the first too, is linear attention."""
    config = Qwen3_5Config(
        text_config={**TEXT, **LINEAR, "rope_parameters": dict(HALF), "num_hidden_layers": layers, **text},
        vision_config=dict(QWEN3_VISION),
        **QWEN,
    )
    return ready(Qwen3_5ForConditionalGeneration, config, seed)


def qwen3_5_moe(layers=6, seed=0, **text):
    """Qwen3.5 with 5 experts a layer, of which a token uses 2, and one more that all use."""
    experts = {**EXPERTS, "shared_expert_intermediate_size": 16}
    plain = {name: value for name, value in TEXT.items() if name != "intermediate_size"}
    config = Qwen3_5MoeConfig(
        text_config={**plain, **LINEAR, **experts, "rope_parameters": dict(HALF), "num_hidden_layers": layers, **text},
        vision_config=dict(QWEN3_VISION),
        **QWEN,
    )
    return ready(Qwen3_5MoeForConditionalGeneration, config, seed)


def qwen3_omni_moe(layers=6, seed=0, **text):
    """The thinker of Qwen3-Omni: as Qwen3-VL with experts, beside a small encoder of sounds."""
    experts = {**EXPERTS, "mlp_only_layers": []}
    config = Qwen3OmniMoeThinkerConfig(
        text_config={**TEXT, **experts, "head_dim": 8, "rope_parameters": dict(INTERLEAVED), "num_hidden_layers": layers, **text},
        vision_config={**QWEN3_VISION, "deepstack_visual_indexes": [0, 1, 2]},
        audio_config={"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "output_dim": 32}
        | {"num_mel_bins": 16, "downsample_hidden_size": 8, "n_window": 10, "n_window_infer": 20},
        audio_token_id=91,
        audio_start_token_id=92,
        **QWEN,
    )
    return ready(Qwen3OmniMoeThinkerForConditionalGeneration, config, seed)


def qwen2_5_omni(layers=6, seed=0, **text):
    """The thinker of Qwen2.5-Omni: as Qwen2.5-VL, beside a small encoder of sounds."""
    config = Qwen2_5OmniThinkerConfig(
        text_config={**TEXT, "rope_parameters": dict(MROPE), "num_hidden_layers": layers, **text},
        vision_config={**QWEN_VISION, "depth": 4, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
        | {"window_size": 16, "fullatt_block_indexes": [1, 3]},
        audio_config={"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "output_dim": 32}
        | {"num_mel_bins": 16, "n_window": 10},
        audio_token_id=91,
        audio_start_token_id=92,
        **QWEN,
    )
    return ready(Qwen2_5OmniThinkerForConditionalGeneration, config, seed)


def minicpmv4_6(layers=6, seed=0, **text):
    """MiniCPM-V 4.6 with 4 x 4 patches a token, joined half way. Every second layer of its LLM, the first too, is linear attention."""
    config = MiniCPMV4_6Config(
        text_config={"model_type": "qwen3_5_text", **TEXT, **LINEAR, "rope_parameters": dict(HALF), "num_hidden_layers": layers, **text},
        vision_config={**VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 4},
        insert_layer_id=1,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    model = ready(MiniCPMV4_6ForConditionalGeneration, config, seed)
    torch.nn.init.normal_(model.model.vision_tower.vit_merger.linear_2.weight, std=0.02)
    return model
