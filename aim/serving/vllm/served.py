"""Which vLLM the plugin was tested with, and which models it serves. Nothing of vLLM is imported here."""

from __future__ import annotations

# The overridden methods are private, and they have moved from release to release.
TESTED = ("0.32.0",)

# The model_type of a checkpoint's config.json → the architecture that vLLM calls it by, and the class that stands in for vLLM's own.
SERVED = {
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "aim.serving.vllm.llava_onevision:MergingLlavaOnevision"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "aim.serving.vllm.qwen2_5_vl:MergingQwen2_5_VL"),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "aim.serving.vllm.qwen3_vl:MergingQwen3VL"),
}

# What is planned where nothing else is said.
KV_BUDGET = "16GiB"
ANSWER_TOKENS = 64
