"""Qwen3-VL with experts: Qwen3-VL whose LLM chooses a few of many MLPs for each token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Qwen3VLMoeConfig

from aim.families import qwen3_vl
from aim.families.language import dense, with_experts
from aim.families.published import Published
from aim.families.qwen3_sizes import LARGE_TOWER, MROPE, QWEN3_30B_A3B, QWEN3_235B_A22B
from aim.kernels.shape import ModelShape


def _language_shape(text: Any) -> ModelShape:
    return with_experts(text, dense(text))


def _published(size: str, llm: dict) -> Published:
    return Published(
        name=f"qwen3-vl-{size.lower()}",
        hub_ids=(f"Qwen/Qwen3-VL-{size}-Instruct", f"Qwen/Qwen3-VL-{size}-Thinking"),
        config_class=Qwen3VLMoeConfig,
        parts={
            "text_config": {**llm, "vocab_size": 151936, "rope_parameters": MROPE, "tie_word_embeddings": False},
            "vision_config": {**LARGE_TOWER, "out_hidden_size": llm["hidden_size"], "deepstack_visual_indexes": [8, 16, 24]},
        },
    )


FAMILY = replace(
    qwen3_vl.FAMILY,
    title="Qwen3-VL with experts",
    good_for="As Qwen3-VL. A part of its weights works on each token, so it is fast for its size.",
    language_shape=_language_shape,
    published=(_published("30B-A3B", QWEN3_30B_A3B), _published("235B-A22B", QWEN3_235B_A22B)),
)
