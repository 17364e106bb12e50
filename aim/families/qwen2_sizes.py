"""The sizes of the LLMs Qwen2 and Qwen2.5, which several families use, as parts of a transformers text config."""

from __future__ import annotations


def _size(layers: int, hidden: int, intermediate: int, heads: int, key_value_heads: int) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "max_position_embeddings": 32768,
    }


QWEN2_0_5B = _size(24, 896, 4864, 14, 2)
QWEN2_1_5B = _size(28, 1536, 8960, 12, 2)
QWEN2_3B = _size(36, 2048, 11008, 16, 2)
QWEN2_7B = _size(28, 3584, 18944, 28, 4)
QWEN2_72B = _size(80, 8192, 29568, 64, 8)
# All of them have these rotary positions.
ROPE = {"rope_type": "default", "rope_theta": 1e6}
