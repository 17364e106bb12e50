"""The prompts that vLLM and `aim.reduce` both answer. Both environments import this file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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

# For Qwen2.5-VL and Qwen3-VL: what each prompt shows, as (kind, seed, frames, height, width), in the order of its text.
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
