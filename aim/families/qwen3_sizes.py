"""The sizes of the LLM Qwen3, as Qwen3-VL and InternVL3.5 have it, and of Qwen3-VL's vision tower, as parts of a transformers config."""

from __future__ import annotations

# Positions have three axes, which take turns among a head's rotary pairs. `mrope_section` is how many of these go to time, height, width.
MROPE = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}


def _size(layers: int, hidden: int, intermediate: int, heads: int, key_value_heads: int = 8) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": 128,
        "max_position_embeddings": 262144,
    }


QWEN3_2B = _size(28, 2048, 6144, 16)
QWEN3_4B = _size(36, 2560, 9728, 32)
QWEN3_8B = _size(36, 4096, 12288, 32)
QWEN3_32B = _size(64, 5120, 25600, 64)
# As InternVL3.5 has it, by the size of the whole model.
QWEN3 = {
    size: {**llm, "max_position_embeddings": 40960}
    for size, llm in {
        "1B": _size(28, 1024, 3072, 16),
        "2B": QWEN3_2B,
        "4B": QWEN3_4B,
        "8B": QWEN3_8B,
        "14B": _size(40, 5120, 17408, 40),
    }.items()
}
# With 128 experts in each layer, of which a token uses 8.
_EXPERTS = {"num_experts": 128, "num_experts_per_tok": 8, "mlp_only_layers": []}
QWEN3_30B_A3B = {**_size(48, 2048, 6144, 32, 4), **_EXPERTS, "moe_intermediate_size": 768}
QWEN3_235B_A22B = {**_size(94, 4096, 12288, 64, 4), **_EXPERTS, "moe_intermediate_size": 1536}

# The vision towers, without the size that they project to.
SMALL_TOWER = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16}
LARGE_TOWER = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16}
