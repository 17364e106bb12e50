"""Models of published sizes with random weights, made on the device: no download, no file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    LlavaOnevisionConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
)

from aim.families.known import KNOWN

# Not a divisor of any layer's width, so that no two rows of a matrix are alike.
BLOCK = 2**20 + 7


def _llava_onevision(name: str, tied: bool = False) -> Callable[[], PretrainedConfig]:
    def config() -> PretrainedConfig:
        shape, vision = KNOWN[name].shape, KNOWN[name].vision
        text = {
            "model_type": "qwen2",
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size,
            "num_hidden_layers": shape.num_layers,
            "num_attention_heads": shape.num_heads,
            "num_key_value_heads": shape.num_key_value_heads,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "tie_word_embeddings": tied,
        }
        tower = {
            "model_type": "siglip_vision_model",
            "image_size": 384,
            "patch_size": 14,
            "hidden_size": vision.hidden_size,
            "intermediate_size": vision.intermediate_size,
            "num_hidden_layers": vision.num_layers,
            "num_attention_heads": 16,
            "vision_use_head": False,
        }
        return LlavaOnevisionConfig(text_config=text, vision_config=tower, tie_word_embeddings=tied)

    return config


def _qwen(kind: type, layers: int, hidden: int, intermediate: int, heads: int, key_value_heads: int, vocabulary: int, **tower):
    def config() -> PretrainedConfig:
        text = {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        }
        return kind(text_config=text, vision_config=tower)

    return config


# From each checkpoint's config.json; weights are tied in the smallest LLaVA-OneVision only. A family `aim` does not support yet is refused.
SIZES: dict[str, Callable[[], PretrainedConfig]] = {
    "llava-onevision-qwen2-0.5b": _llava_onevision("llava-onevision-qwen2-0.5b", tied=True),
    "llava-onevision-qwen2-7b": _llava_onevision("llava-onevision-qwen2-7b"),
    "llava-onevision-qwen2-72b": _llava_onevision("llava-onevision-qwen2-72b"),
    "qwen2-vl-7b": _qwen(Qwen2VLConfig, 28, 3584, 18944, 28, 4, 152064, hidden_size=3584),
    "qwen2.5-vl-7b": _qwen(
        Qwen2_5_VLConfig, 28, 3584, 18944, 28, 4, 152064, hidden_size=1280, intermediate_size=3420, out_hidden_size=3584, window_size=112
    ),
}

# What random models make of frames: the published tower's input, values of no consequence.
PICTURES = {"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def random_model(config: PretrainedConfig, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """A model of this config with random weights, made on `device` in evaluation mode; it holds every tensor once and touches no disk.

    Matrices repeat one block of normal numbers of the config's standard deviation, since drawing billions takes a CPU minutes; norms,
    biases and buffers are what transformers makes them.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.to_empty(device=device)
    deviation = getattr(config.text_config, "initializer_range", 0.02)
    block = torch.randn(BLOCK, generator=torch.Generator(device).manual_seed(0), device=device).mul_(deviation).to(dtype)
    for matrix in (parameter for parameter in model.parameters() if parameter.dim() > 1):
        _fill(matrix, block)
        matrix._is_hf_initialized = True  # left alone by `init_weights`
    model.init_weights()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _fill(matrix: nn.Parameter, block: torch.Tensor) -> None:
    flat = matrix.view(-1)
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        part.copy_(block[: len(part)])
