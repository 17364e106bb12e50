"""Tiny random models of the real classes: as deep and wide as the behaviour under test needs, made in milliseconds."""

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

IMAGE, VIDEO = 97, 98


def llava_onevision(layers=6, seed=0, **text):
    """LLaVA-OneVision with 5 x 5 tokens a frame (10 x 10 patches), so that nothing divides evenly. Never ends by itself."""
    torch.manual_seed(seed)
    config = LlavaOnevisionConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 99,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            **text,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "image_size": 40,
            "patch_size": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vision_use_head": False,
        },
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[40, 40]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def clip_inputs(frames=4, seed=0, before=3, after=6):
    """What a processor would return for one clip and a question: ids [1, n], mask, pixel values [1, F, 3, 40, 40]."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(3, 90, (before + after,), generator=generator)
    ids = torch.cat([words[:before], torch.full((frames * 25 + 1,), VIDEO), words[before:]])[None]
    pixels = torch.randn(1, frames, 3, 40, 40, generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels}
