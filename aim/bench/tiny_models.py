"""Tiny random models of the real classes, one a family: as deep and wide as the behaviour under test needs, made in milliseconds.

Nothing divides evenly, and nothing ends by itself. The tests use them, and so does `aim.bench.gpu`. `tests.tiny` has inputs for them.
"""

from __future__ import annotations

import torch
from transformers import (
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
)

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
