"""The numbers of a family's LLM, read off its transformers config."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aim.kernels.shape import ModelShape

WINDOW = "sliding_attention"


def dense(text: Any) -> ModelShape:
    """An LLM whose layers all attend to keys, some within a window, and have one gated MLP, or none that the config names."""
    return ModelShape(
        num_layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        intermediate_size=getattr(text, "intermediate_size", 0),
        num_heads=text.num_attention_heads,
        num_key_value_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocab_size=text.vocab_size,
        **_windows(text),
    )


def _windows(text: Any) -> dict[str, Any]:
    """The window of an LLM and the layers that have it, as its KV cache reads them off the config."""
    window = getattr(text, "sliding_window", None)
    kinds = getattr(text, "layer_types", None) or [WINDOW] * text.num_hidden_layers
    layers = tuple(layer for layer, kind in enumerate(kinds) if kind == WINDOW)
    return {"window": window, "windowed_layers": layers} if window and layers else {}


def with_experts(text: Any, shape: ModelShape) -> ModelShape:
    """The same LLM with experts in place of the MLP, in every layer, and with one that all tokens use where the config names its width."""
    shared = getattr(text, "shared_expert_intermediate_size", 0)
    used = text.num_experts_per_tok * text.moe_intermediate_size
    return replace(
        shape,
        intermediate_size=used + shared,
        router=text.num_experts + bool(shared),
        unused_size=text.num_experts * text.moe_intermediate_size - used,
    )
