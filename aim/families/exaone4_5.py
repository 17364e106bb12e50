"""EXAONE 4.5: the tower of Qwen2.5-VL with fewer keys than queries, in front of EXAONE 4.0. Positions are plain numbers.

Three of four LLM layers have a window, and the others turn nothing by its position. No layer has a norm in front of its attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.models.exaone4_5.configuration_exaone4_5 import Exaone4_5_Config

from aim.families import qwen2_5_vl, qwen2_vl
from aim.families.base import Encoded, Reader
from aim.families.published import Published
from aim.families.sized import Size, SizedFeatures, repeated, sized_reader
from aim.kernels.cost import VisionShape
from aim.kernels.grid import Grid
from aim.kernels.tower_attention import TowerAttention

# Releases before 5.20 build it without sizes for beams.
IS_UNIFORM = hasattr(Exaone4_5_Config, "sub_configs_defaults")


def _reader(kind: str) -> Callable[..., Reader]:
    """The family's `images` or `videos`."""

    def read(config, inputs: dict) -> Reader:
        return sized_reader(kind, _sizes(config, kind, inputs), f"`{kind}_grid_thw`")

    return read


def _sizes(config, kind: str, inputs: dict) -> Iterable[Size] | None:
    """The sizes of a forward's pictures in order. None where they are not known."""
    merge = config.vision_config.spatial_merge_size

    def tokens(patches: Tensor) -> list[Size]:
        return [(steps, rows // merge, columns // merge) for steps, rows, columns in patches.tolist()]

    given = inputs.get(f"{kind}_grid_thw")
    if given is not None:
        return tokens(given)
    made = (inputs.get("mm_encoder_outputs") or {}).get(kind)
    sizes = getattr(made, "sizes", None)
    return None if sizes is None else repeated(tokens(sizes), made.pooler_output)


def _keeping_sizes(model) -> list:
    """Hooks that hand the sizes of pictures on with the tower's output."""

    def keep(_module, args: tuple, kwargs: dict, output) -> SizedFeatures:
        sizes = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
        return SizedFeatures(last_hidden_state=output.last_hidden_state, pooler_output=output.pooler_output, sizes=sizes)

    return [model.model.visual.register_forward_hook(keep, with_kwargs=True)]


def _joined(parts: list[Tensor], seen: tuple[TowerAttention, ...]) -> SizedFeatures:
    return SizedFeatures(pooler_output=[torch.cat(parts)], attentions=seen)  # type: ignore[arg-type]


def _encode(model, pixels: dict[str, Tensor]) -> Encoded:
    """Projected tokens, one [steps · T, hidden]."""
    encoded = _ENCODE(model, pixels)
    encoded.features["video"].sizes = pixels["video_grid_thw"]
    return encoded


def _vision_shape(config, grid: Grid) -> VisionShape:
    vision = config.vision_config
    keys = vision.hidden_size * vision.num_key_value_heads // vision.num_heads
    return replace(qwen2_5_vl.vision_shape(config, grid), keys_size=keys)


_ENCODE = qwen2_vl.encoder(qwen2_5_vl.watch_tower, _vision_shape, joined=_joined)


def _published(size: str, **text: Any) -> Published:
    """An EXAONE 4.0 behind a ViT with gated MLPs, every seventh layer of which sees the whole frame."""
    return Published(
        name=f"exaone-4.5-{size.lower()}",
        hub_ids=(f"LGAI-EXAONE/EXAONE-4.5-{size}",),
        config_class=Exaone4_5_Config,
        parts={
            "text_config": {
                "model_type": "exaone4",
                "vocab_size": 153600,
                "max_position_embeddings": 262144,
                "sliding_window": 4096,
                "sliding_window_pattern": 4,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
                **text,
            },
            "vision_config": {
                "depth": 28,
                "hidden_size": 2048,
                "intermediate_size": 5120,
                "num_heads": 32,
                "num_key_value_heads": 8,
                "out_hidden_size": text["hidden_size"],
                "fullatt_block_indexes": [6, 13, 20, 27],
            },
        },
    )


FAMILY = replace(
    qwen2_5_vl.FAMILY,
    title="EXAONE 4.5",
    good_for="Text in the picture, in Korean too, and clips.",
    images=_reader("image"),
    videos=_reader("video"),
    encode=_encode,
    vision_shape=_vision_shape,
    token_types="",
    timing=None,
    keeping_sizes=_keeping_sizes,
    published=(
        _published(
            "33B",
            num_hidden_layers=64,
            hidden_size=5120,
            intermediate_size=27392,
            num_attention_heads=40,
            num_key_value_heads=8,
            head_dim=128,
        ),
    ),
)
