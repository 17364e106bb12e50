"""Qwen3.5: Qwen3-VL without DeepStack, whose LLM has three layers of linear attention before each one that attends to keys.

A layer of linear attention, a gated delta net, gives no scores and keeps no keys. The engine takes the scores from the layers between
(`aim.engine.prefill`), and the cost of such a layer grows with the tokens alone. Qwen3.6 and Qwen3.8 have the same config.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Qwen3_5Config

from aim.families import qwen2_vl, qwen3_vl
from aim.families.language import dense
from aim.families.published import Published
from aim.families.qwen3_sizes import LARGE_TOWER, SMALL_TOWER
from aim.kernels.shape import LinearShape, ModelShape

LINEAR = "linear_attention"
# A quarter of a head's numbers are turned by their position.
ROPE = {
    "rope_type": "default",
    "rope_theta": 1e7,
    "partial_rotary_factor": 0.25,
    "mrope_section": [11, 11, 10],
    "mrope_interleaved": True,
}
SMALLEST_TOWER = {"depth": 12, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12}


def size(layers: int, hidden: int, heads: int, key_value_heads: int, value_heads: int, **mlp: int) -> dict[str, Any]:
    """The LLM's part of a config: `value_heads` are those of its layers of linear attention, `mlp` what its MLPs are."""
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": 256,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": value_heads,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "max_position_embeddings": 262144,
        "vocab_size": 248320,
        "rope_parameters": ROPE,
        **mlp,
    }


def with_linear_layers(text: Any, shape: ModelShape) -> ModelShape:
    """The same LLM with linear attention in the layers that its config says, and with gates on what the others' attention gives."""
    linear = LinearShape(
        key_heads=text.linear_num_key_heads,
        value_heads=text.linear_num_value_heads,
        key_dim=text.linear_key_head_dim,
        value_dim=text.linear_value_head_dim,
        kernel=text.linear_conv_kernel_dim,
    )
    layers = tuple(index for index, kind in enumerate(text.layer_types) if kind == LINEAR)
    return replace(shape, gate=True, linear=linear, linear_layers=layers)


def _language_shape(text: Any) -> ModelShape:
    return with_linear_layers(text, dense(text))


def _published(name: str, llm: dict, tower: dict, tied: bool = False, later: tuple[str, ...] = ()) -> Published:
    """`later`: the generations after Qwen3.5 that have a checkpoint of this shape."""
    return Published(
        name=f"qwen3.5-{name.lower()}",
        hub_ids=tuple(f"Qwen/Qwen{generation}-{name}" for generation in ("3.5", *later)),
        config_class=Qwen3_5Config,
        parts={
            "text_config": {**llm, "tie_word_embeddings": tied},
            "vision_config": {**tower, "out_hidden_size": llm["hidden_size"]},
            "tie_word_embeddings": tied,
        },
    )


FAMILY = replace(
    qwen3_vl.FAMILY,
    title="Qwen3.5",
    good_for="Clips of many frames. Most of its layers keep no keys and values, so long prompts take little memory.",
    encode=qwen2_vl.encoder(qwen2_vl.watch_tower, qwen3_vl.vision_shape),
    language_shape=_language_shape,
    published=(
        _published("0.8B", size(24, 1024, 8, 2, 16, intermediate_size=3584), SMALLEST_TOWER, tied=True),
        _published("2B", size(24, 2048, 8, 2, 16, intermediate_size=6144), SMALL_TOWER, tied=True),
        _published("4B", size(32, 2560, 16, 4, 32, intermediate_size=9216), SMALL_TOWER, tied=True),
        _published("9B", size(32, 4096, 16, 4, 32, intermediate_size=12288), LARGE_TOWER),
        _published("27B", size(64, 5120, 24, 4, 48, intermediate_size=17408), LARGE_TOWER, later=("3.6", "3.8")),
    ),
)
