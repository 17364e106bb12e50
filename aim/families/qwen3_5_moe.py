"""Qwen3.5 with experts: Qwen3.5 whose LLM chooses a few of many MLPs for each token, beside one that all tokens use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers import Qwen3_5MoeConfig

from aim.families import qwen3_5
from aim.families.language import dense, with_experts
from aim.families.published import Published
from aim.families.qwen3_sizes import LARGE_TOWER
from aim.kernels.shape import ModelShape

EXPERTS = {"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}


def _language_shape(text: Any) -> ModelShape:
    return with_experts(text, qwen3_5.with_linear_layers(text, dense(text)))


FAMILY = replace(
    qwen3_5.FAMILY,
    title="Qwen3.5 with experts",
    good_for="As Qwen3.5. A part of its weights works on each token, so it is fast for its size.",
    language_shape=_language_shape,
    published=(
        Published(
            name="qwen3.5-35b-a3b",
            hub_ids=("Qwen/Qwen3.5-35B-A3B", "Qwen/Qwen3.6-35B-A3B"),
            config_class=Qwen3_5MoeConfig,
            parts={
                "text_config": qwen3_5.size(40, 2048, 16, 2, 32, **EXPERTS),
                "vision_config": {**LARGE_TOWER, "out_hidden_size": 2048},
            },
        ),
    ),
)
