"""Tiny random models of the families that take the frames of a clip as images; see `aim.bench.tiny_models`."""

from __future__ import annotations

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Step3p7ForConditionalGeneration,
)
from transformers.models.step3p7.configuration_step3p7 import Step3p7Config

from aim.bench.tiny_models import IMAGE, TEXT, VIDEO, VISION, ready


def llava(layers=6, seed=0, **text):
    """LLaVA-1.5 with 5 x 5 tokens an image, from the last layer of its tower but one."""
    config = LlavaConfig(
        text_config={"model_type": "llama", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={"model_type": "clip_vision_model", **VISION, "image_size": 20, "patch_size": 4, "num_hidden_layers": 3},
        image_token_index=IMAGE,
        image_seq_length=25,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return ready(LlavaForConditionalGeneration, config, seed)


def gemma3(layers=6, seed=0, **text):
    """Gemma 3 with 5 x 5 tokens a frame (10 x 10 patches), two layers with a window before each without one."""
    kinds = ["full_attention" if layer % 3 == 2 else "sliding_attention" for layer in range(layers)]
    given = {"sliding_window": 512, "head_dim": 8, "query_pre_attn_scalar": 8, "layer_types": kinds}
    config = Gemma3Config(
        text_config={**TEXT, "num_hidden_layers": layers, **given, **text},
        vision_config={**VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 2, "vision_use_head": False},
        mm_tokens_per_image=25,
        image_token_index=IMAGE,
        boi_token_index=95,
        eoi_token_index=96,
        tie_word_embeddings=False,  # else it says the last word again and again
    )
    model = ready(Gemma3ForConditionalGeneration, config, seed)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)  # all 0 when it is made
    return model


def gemma4(layers=6, seed=0, **text):
    """Gemma 4 with 5 x 5 tokens a frame (10 x 10 patches); every third layer of its LLM has no window and wider heads, fewer of them."""
    kinds = ["full_attention" if layer % 3 == 2 else "sliding_attention" for layer in range(layers)]
    kinds[-1] = "full_attention"  # as transformers insists
    wide = {"global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True}
    given = {"sliding_window": 512, "head_dim": 8, "layer_types": kinds, "hidden_size_per_layer_input": 0, **wide}
    config = Gemma4Config(
        text_config={**TEXT, "num_hidden_layers": layers, "use_bidirectional_attention": "vision", **given, **text},
        vision_config={
            **VISION,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
            "num_hidden_layers": 2,
            "initializer_range": 0.3,
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=93,
        boi_token_id=95,
        eoi_token_id=96,
        tie_word_embeddings=False,  # else it says the last word again and again
    )
    model = ready(Gemma4ForConditionalGeneration, config, seed)
    torch.nn.init.normal_(model.model.vision_tower.patch_embedder.position_embedding_table, std=0.3)  # all 1 when it is made
    return model


def step3p7(layers=6, seed=0, **text):
    """Step 3.7 with 5 x 5 tokens a frame (20 x 20 patches). Every third layer of its LLM has no window and fewer heads, and the first two
    have one MLP in place of experts."""
    kinds = ["full_attention" if layer % 3 == 2 else "sliding_attention" for layer in range(layers)]
    experts = {"n_routed_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "share_expert_dim": 40}
    given = {"sliding_window": 512, "head_dim": 8, "num_sliding_attention_heads": 6, "layer_types": kinds, **experts}
    config = Step3p7Config(
        text_config={**TEXT, "num_hidden_layers": layers, "mlp_layer_types": ["dense"] * 2 + ["sparse"] * (layers - 2), **given, **text},
        vision_config={
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_attention_heads": 4,
            "image_size": 40,
            "patch_size": 2,
            "num_hidden_layers": 2,
            "initializer_range": 0.3,
        },
        image_token_id=IMAGE,
    )
    model = ready(Step3p7ForConditionalGeneration, config, seed)
    for convolution in (model.model.vision_model.downsampler1, model.model.vision_model.downsampler2):
        torch.nn.init.normal_(convolution.weight, std=0.03)  # else the features are a hundred times as large as a word's embedding
    return model


def granite4_vision(layers=6, seed=0, **text):
    """Granite 4 Vision with 5 x 5 tokens a view (10 x 10 patches), whose features enter before five of its layers and not before one.

    Its config names no size for tiles but nothing, so that the stock model takes the whole view of a picture by itself.
    """
    scales = {"embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.5, "logits_scaling": 2.0}
    joiner = {"hidden_size": 64, "encoder_hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 64}
    joiner |= {"cross_attention_frequency": 1, "use_qformer_text_input": False}
    config = Granite4VisionConfig(
        text_config={**TEXT, "num_hidden_layers": layers, **scales, **text},
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "hidden_size": 64,
            "image_size": 40,
            "patch_size": 4,
            "num_hidden_layers": 3,
            "vision_use_head": False,
        },
        qformer_config={"model_type": "blip_2_qformer", **joiner},
        image_token_index=IMAGE,
        image_grid_pinpoints=[[0, 0]],
        downsample_rate="1/2",
        vision_feature_select_strategy="full",
        deepstack_layer_map=[[-3, 2], [-1, 0]],
        spatial_target_layers=[1, 3, 5],
    )
    return ready(Granite4VisionForConditionalGeneration, config, seed)
