"""Tiny random models of the real classes, one a family: as deep and wide as the behaviour under test needs, made in milliseconds.

Nothing divides evenly, and nothing ends by itself. The tests use them, and so does `aim.bench.gpu`. `tests.tiny` has inputs for them.
"""

from __future__ import annotations

import torch
from transformers import (
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    Step3p7ForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
)
from transformers.models.step3p7.configuration_step3p7 import Step3p7Config

try:
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration
except ImportError:  # releases before 5.20
    Molmo2Config = Molmo2ForConditionalGeneration = None  # type: ignore[assignment, misc]

PAD, NEWLINE, IMAGE, VIDEO = 0, 94, 97, 98
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def ready(kind: type, config, seed: int):
    torch.manual_seed(seed)
    model = kind(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = PAD
    return model


def llava_onevision(layers=6, seed=0, **text):
    """LLaVA-OneVision with 5 x 5 tokens a frame (10 x 10 patches)."""
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "image_size": 40,
            "patch_size": 4,
            "num_hidden_layers": 2,
            "vision_use_head": False,
        },
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[40, 40], [40, 80], [80, 40], [80, 80], [40, 120], [120, 120]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return ready(LlavaOnevisionForConditionalGeneration, config, seed)


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


def llava_next_video(layers=6, seed=0, **text):
    """LLaVA-NeXT-Video with 5 x 5 tokens a frame (10 x 10 patches), from the last layer of its tower but one."""
    config = LlavaNextVideoConfig(
        text_config={"model_type": "llama", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={"model_type": "clip_vision_model", **VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 3},
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[40, 80], [80, 40], [80, 80], [40, 120], [120, 40]],
    )
    return ready(LlavaNextVideoForConditionalGeneration, config, seed)


def internvl(layers=6, seed=0, **text):
    """InternVL with 5 x 5 tokens a frame (10 x 10 patches)."""
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={**VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 2, "initializer_range": 0.3},
        image_token_id=IMAGE,
        image_seq_length=25,
    )
    return ready(InternVLForConditionalGeneration, config, seed)


def smolvlm(layers=6, seed=0, **text):
    """SmolVLM2 with 5 x 5 tokens a frame (10 x 10 patches)."""
    config = SmolVLMConfig(
        text_config={"model_type": "llama", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={**VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 2},
        image_token_id=IMAGE,
        scale_factor=2,
    )
    return ready(SmolVLMForConditionalGeneration, config, seed)


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


def video_llama_3(layers=6, seed=0, **text):
    """VideoLLaMA3 with patches of 4 x 4 pixels; how many are one token is said with the pixels."""
    config = VideoLlama3Config(
        text_config={"model_type": "qwen2", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={**VISION, "patch_size": 4, "num_hidden_layers": 2, "initializer_range": 0.3},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return ready(VideoLlama3ForConditionalGeneration, config, seed)


def exaone4_5(layers=6, seed=0, **text):
    """EXAONE 4.5: two frames are one step of 5 x 7 tokens (10 x 14 patches). Every third layer of its LLM has no window."""
    kinds = ["full_attention" if layer % 3 == 2 else "sliding_attention" for layer in range(layers)]
    given = {"sliding_window": 512, "sliding_window_pattern": 3, "head_dim": 8, "layer_types": kinds}
    config = Exaone4_5_Config(
        text_config={"model_type": "exaone4", **TEXT, "num_hidden_layers": layers, **given, **text},
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "num_key_value_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 4,
            "window_size": 16,
            "fullatt_block_indexes": [1, 3],
            "initializer_range": 0.3,
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return ready(Exaone4_5_ForConditionalGeneration, config, seed)


def perception_lm(layers=6, seed=0, **text):
    """Perception LM with 5 x 5 tokens a frame (10 x 10 patches). A SigLIP stands for its tower, which is in a package of its own."""
    numbers = {"embed_dim": 32, "depth": 2, "img_size": [40, 40], "patch_size": 4, "mlp_ratio": 2}
    tower = {**VISION, "image_size": 40, "patch_size": 4, "num_hidden_layers": 2, "vision_use_head": False}
    config = PerceptionLMConfig(
        text_config={"model_type": "llama", **TEXT, "num_hidden_layers": layers, **text},
        vision_config={"model_type": "siglip_vision_model", **tower, "model_args": numbers},
        vision_use_cls_token=False,
        projector_pooling_ratio=2,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    return ready(PerceptionLMForConditionalGeneration, config, seed)


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


def molmo2(layers=6, seed=0, **text):
    """Molmo2 with 5 x 5 tokens a frame (15 x 15 patches), from two layers of its tower."""
    config = Molmo2Config(
        text_config={**TEXT, "head_dim": 8, "additional_vocab_size": 3, "num_hidden_layers": layers, **text},
        vision_config={
            **VISION,
            "image_size": [60, 60],
            "patch_size": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "initializer_range": 0.3,
        },
        adapter_config={
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "intermediate_size": 48,
            "text_hidden_size": 32,
            "vision_feature_layer": [2, 0],
            "initializer_range": 0.1,
        },
        image_patch_id=IMAGE,
        image_start_token_id=95,
        image_end_token_id=96,
        low_res_image_start_token_id=91,
        frame_start_token_id=92,
        frame_end_token_id=93,
        use_frame_special_tokens=False,
        initializer_range=0.3,
    )
    return ready(Molmo2ForConditionalGeneration, config, seed)
