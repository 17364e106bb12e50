"""The prompts that vLLM and `aim.reduce` both answer, and the tiny Qwen2.5-VL that answers them. Both environments import this file."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

ASSETS = Path(__file__).parents[3] / "assets"
REFERENCES = Path(__file__).parents[2] / "data" / "vllm.json"
RATIOS = (1, 0.5, 0.25)
NEW_TOKENS = 8
# Two frames are then two thirds of a place in time, and no clip here is longer in time than in height and width. Where one is,
# transformers 5.23 and vLLM 0.32 differ in the position of the text behind it, without the plugin too.
FPS = 12.0

# What vLLM 0.32 needs to know of the bundled checkpoint: a Qwen2 whose heads are not hidden_size / heads wide.
BUNDLED = {"text_config": {"architectures": ["LlamaForCausalLM"], "qkv_bias": True}}

START, MIDDLE, END = "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n"
CLIP, PICTURE = (f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("video", "image"))

# For Qwen2.5-VL: what each prompt shows, as (kind, seed, frames, height, width), in the order of its text.
QWEN = {
    "a clip": (f"{START}{CLIP}what?{MIDDLE}{END}", [("video", 1, 8, 112, 168)]),
    "an odd clip": (f"{START}{CLIP}where is it?{MIDDLE}{END}", [("video", 2, 5, 140, 84)]),
    "two clips": (f"{START}{CLIP}and{CLIP}which?{MIDDLE}{END}", [("video", 3, 4, 112, 112), ("video", 4, 6, 84, 140)]),
    "a clip and an image": (f"{START}{CLIP}with{PICTURE}?{MIDDLE}{END}", [("video", 5, 4, 112, 112), ("image", 6, 1, 84, 112)]),
}


def frames_of(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """Random squares of 14 pixels, uint8 [F, height, width, 3]; each frame differs a little from the one before."""
    generator = np.random.default_rng(seed)
    squares = generator.integers(0, 256, (frames, height // 14, width // 14, 3), dtype=np.uint8)
    squares[1:] = squares[1:] // 4 + squares[:1] // 4 * 3
    return squares.repeat(14, axis=1).repeat(14, axis=2)


def examples() -> list[dict]:
    """The bundled example clips, each with its question, answer and number of frames."""
    return json.loads((ASSETS / "examples" / "examples.json").read_text())


def save_qwen(folder: Path) -> str:
    """Write a tiny Qwen2.5-VL whose weights are the same under every release of transformers; its path."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from tests.tiny import IMAGE, PAD, VIDEO
    from tests.tiny_checkpoints import COMMON, QWEN_MARKERS, QWEN_TEMPLATE, build_tokenizer

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    sizes = {"vocab_size": 99, "hidden_size": 128, "intermediate_size": 192, "max_position_embeddings": 2048}
    heads = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    text = {**sizes, **heads, "rope_parameters": rope, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": 2}
    ids = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": 95, "vision_end_token_id": 96}
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 2, "out_hidden_size": 128, "fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config={**vision, "tokens_per_second": 4}, tie_word_embeddings=False, **ids)
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                weights.copy_(torch.randn(weights.shape, generator=generator) * weights[0].numel() ** -0.5)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    build_tokenizer(QWEN_MARKERS).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    pixels = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 1280, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    settings = {**COMMON, **pixels, "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    settings = {**COMMON, **pixels, "video_processor_type": "Qwen2VLVideoProcessor", "do_sample_frames": False}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)
