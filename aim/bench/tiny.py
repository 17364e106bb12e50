"""The table of the tiny models, and picture settings by which frames fit their towers."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from aim.bench.tiny_axes_models import (
    glm4v,
    glm4v_moe,
    glm46v,
    minicpmv4_6,
    qwen2_5_omni,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_omni_moe,
    qwen3_vl,
    qwen3_vl_moe,
)
from aim.bench.tiny_image_models import gemma3, gemma4, granite4_vision, llava, step3p7
from aim.bench.tiny_models import (
    exaone4_5,
    internvl,
    llava_next_video,
    llava_onevision,
    molmo2,
    perception_lm,
    smolvlm,
    video_llama_3,
)
from aim.families import FAMILIES

# model type → how its tiny model is made.
TINY_MODELS: dict[str, Callable[..., PreTrainedModel]] = {
    "llava_onevision": llava_onevision,
    "llava": llava,
    "llava_next_video": llava_next_video,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl_moe,
    "qwen2_5_omni_thinker": qwen2_5_omni,
    "qwen3_omni_moe_thinker": qwen3_omni_moe,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5_moe,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "video_llama_3": video_llama_3,
    "glm4v": glm4v,
    "glm4v_moe": glm4v_moe,
    "glm46v": glm46v,
    "exaone4_5": exaone4_5,
    "minicpmv4_6": minicpmv4_6,
    "molmo2": molmo2,
    "perception_lm": perception_lm,
    "step3p7": step3p7,
    "granite4_vision": granite4_vision,
}

_SQUARE = {"size": {"height": 40, "width": 40}}
_PIXELS = {"min_pixels": 64, "max_pixels": 6400}
_CLIP_PIXELS = {"size": {"shortest_edge": 64, "longest_edge": 3 * 6400}}  # of a whole clip
# model type → the picture settings that go with its tiny model, beside the family's own.
TINY_PICTURES: dict[str, dict] = {
    "llava_onevision": _SQUARE,
    "llava": {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}},
    "llava_next_video": {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}},
    "qwen2_vl": _PIXELS,
    "qwen2_5_vl": _PIXELS,
    "qwen3_vl": _CLIP_PIXELS,
    "qwen3_vl_moe": _CLIP_PIXELS,
    "qwen2_5_omni_thinker": _PIXELS,
    "qwen3_omni_moe_thinker": _PIXELS,
    "qwen3_5": _CLIP_PIXELS,
    "qwen3_5_moe": _CLIP_PIXELS,
    "internvl": _SQUARE,
    "smolvlm": {"size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 40}},
    "gemma3": _SQUARE,
    "gemma4": {"max_soft_tokens": 70},
    "video_llama_3": _CLIP_PIXELS,
    "glm4v": _CLIP_PIXELS,
    "glm4v_moe": _CLIP_PIXELS,
    "glm46v": _CLIP_PIXELS,
    "exaone4_5": _PIXELS,
    "minicpmv4_6": {"scale_resolution": 96},
    "molmo2": {"size": {"height": 60, "width": 60}},
    "perception_lm": _SQUARE,
    "step3p7": _SQUARE,
    "granite4_vision": _SQUARE,
}

# This release of transformers may be too old for some.
TINY_MODELS = {kind: made for kind, made in TINY_MODELS.items() if kind in FAMILIES}
TINY_PICTURES = {kind: settings for kind, settings in TINY_PICTURES.items() if kind in FAMILIES}
