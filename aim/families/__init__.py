"""The model families, one file each, and the table that names them."""

from __future__ import annotations

from aim.families import internvl, llava, llava_onevision, qwen2_5_vl, qwen2_vl
from aim.families.base import Encoded, Family, Picture, Reader

FAMILIES: dict[str, Family] = {
    "llava_onevision": llava_onevision.FAMILY,
    "llava": llava.FAMILY,
    "qwen2_vl": qwen2_vl.FAMILY,
    "qwen2_5_vl": qwen2_5_vl.FAMILY,
    "internvl": internvl.FAMILY,
}

_DEEPSTACK = "It adds visual features again inside some LLM layers (DeepStack), to tokens that are then merged or gone."
_LINEAR = "Most of its LLM layers are linear attention: one running state, and no keys to drop or to score tokens by."

# model type → why it cannot work (read off its code in transformers 5.23).
REFUSED: dict[str, str] = {
    "qwen3_vl": _DEEPSTACK,
    "qwen3_vl_moe": _DEEPSTACK,
    "qwen3_omni_moe": _DEEPSTACK,
    "granite4_vision": _DEEPSTACK,
    "mllama": "Its LLM looks at the picture through cross-attention layers, so there are no visual tokens in the prompt to reduce.",
    "idefics": "Its LLM looks at the picture through gated cross-attention layers, so there are no visual tokens in the prompt to reduce.",
    "gemma3": "The tokens of an image attend to one another in both directions, by a mask made for the whole prompt.",
    "paligemma": "The whole prompt attends in both directions, by a mask made for its full length.",
    "gemma3n": "Every LLM layer takes a further input for every token of the prompt, which would no longer fit the tokens that are left.",
    "qwen3_5": _LINEAR,
    "qwen3_5_moe": _LINEAR,
    "lfm2_vl": "Most of its LLM layers are convolutions over neighbouring tokens, which dropping tokens would tear apart.",
}

__all__ = ["FAMILIES", "REFUSED", "Encoded", "Family", "Picture", "Reader", "family_of"]


def family_of(config) -> Family:
    """The entry for a model's config.

    Raises:
        ValueError: the family is not supported, with the reason where there is one.
    """
    kind = config.model_type
    if kind not in FAMILIES:
        reason = f" {REFUSED[kind]}" if kind in REFUSED else ""
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"The model is of type {kind!r}; supported are: {known}.{reason} Load a checkpoint of one of these.")
    return FAMILIES[kind]
