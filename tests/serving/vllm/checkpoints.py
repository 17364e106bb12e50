"""Tiny Qwen models whose weights are the same under every release of transformers. Both environments import this file."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from tests.tiny import IMAGE, PAD, VIDEO
from tests.tiny_checkpoints import COMMON, QWEN_MARKERS, QWEN_TEMPLATE, build_tokenizer

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
TEXT = {
    "vocab_size": 99,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 2, "out_hidden_size": 128, "patch_size": 14}
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 95, "vision_end_token_id": 96}
PIXELS = {**COMMON, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}


def _qwen2_5_vl():
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": {**ROPE, "mrope_section": [4, 6, 6]}},
        vision_config={**VISION, "fullatt_block_indexes": [1], "tokens_per_second": 4},
        tie_word_embeddings=False,
        **IDS,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl():
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 32, "rope_parameters": {**ROPE, "mrope_section": [6, 5, 5], "mrope_interleaved": True}},
        vision_config={**VISION, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]},
        tie_word_embeddings=False,
        **IDS,
    )
    return Qwen3VLForConditionalGeneration(config)


# What makes the model, its processor, its video processor, and the pixels that a picture has at least and at most. At its start vLLM
# processes one with the most.
LEAST, MOST = 28 * 28, 28 * 28 * 256
CHECKPOINTS = {
    "qwen2_5_vl": (_qwen2_5_vl, "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", {"min_pixels": LEAST, "max_pixels": MOST}),
    "qwen3_vl": (
        _qwen3_vl,
        "Qwen3VLProcessor",
        "Qwen3VLVideoProcessor",
        {"size": {"shortest_edge": LEAST, "longest_edge": MOST}},
    ),
}


def save(name: str, folder: Path) -> str:
    """Write a tiny model, a key of `CHECKPOINTS`; its path."""
    make, processor, video_processor, edges = CHECKPOINTS[name]
    model = make()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                weights.copy_(torch.randn(weights.shape, generator=generator) * weights[0].numel() ** -0.5)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)  # which makes the folder
    build_tokenizer(QWEN_MARKERS).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    settings = {**PIXELS, **edges, "image_processor_type": "Qwen2VLImageProcessor", "processor_class": processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    settings = {**PIXELS, **edges, "video_processor_type": video_processor, "do_sample_frames": False}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)
