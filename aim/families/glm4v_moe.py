"""GLM-4.5V: GLM-4.1V with experts in all LLM layers but the first ones.

GLM-4.6V has the same model type, and its processor alone tells it apart: it writes tenths of a second. Here it gets the whole seconds of
GLM-4.5V.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Glm4vMoeConfig

from aim.families import glm4v
from aim.families.language import dense
from aim.families.published import Published
from aim.kernels.shape import ModelShape


def _language_shape(text: Any) -> ModelShape:
    """A layer with experts also has some that all tokens use, of the same size."""
    used = text.num_experts_per_tok * text.moe_intermediate_size
    return replace(
        dense(text),
        intermediate_size=used + text.n_shared_experts * text.moe_intermediate_size,
        router=text.n_routed_experts,
        unused_size=text.n_routed_experts * text.moe_intermediate_size - used,
        dense_size=text.intermediate_size,
        dense_layers=tuple(range(min(text.first_k_dense_replace, text.num_hidden_layers))),
    )


def _published(name: str, hub_ids: tuple[str, ...], context: int) -> Published:
    """A GLM-4.5-Air behind the ViT of GLM-4.1V, whose projector is narrower here."""
    text = {"vocab_size": 151552, "head_dim": 128, "max_position_embeddings": context, "rope_parameters": glm4v.ROPE}
    return Published(name, hub_ids, Glm4vMoeConfig, {"text_config": text, "vision_config": {"intermediate_size": 10944}})


FAMILY = replace(
    glm4v.FAMILY,
    title="GLM-4.5V",
    good_for="As GLM-4.1V. A part of its weights works on each token, so it is fast for its size. It needs several large GPUs.",
    language_shape=_language_shape,
    published=(
        _published("glm-4.5v", ("zai-org/GLM-4.5V", "zai-org/GLM-4.5V-FP8"), 65536),
        _published("glm-4.6v", ("zai-org/GLM-4.6V", "zai-org/GLM-4.6V-FP8"), 131072),
    ),
)
