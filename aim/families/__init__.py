"""The model families, one file each, and the tables that name them."""

from __future__ import annotations

from aim.families import (
    gemma3,
    gemma4,
    glm4v,
    glm46v,
    internvl,
    llava,
    llava_next_video,
    llava_onevision,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_vl,
    qwen3_vl_moe,
    smolvlm,
    video_llama_3,
)
from aim.families.base import Encoded, Family, Picture, Reader
from aim.families.published import Published
from aim.kernels.refusal import Refusal

FAMILIES: dict[str, Family] = {
    "llava_onevision": llava_onevision.FAMILY,
    "llava": llava.FAMILY,
    "llava_next_video": llava_next_video.FAMILY,
    "qwen2_vl": qwen2_vl.FAMILY,
    "qwen2_5_vl": qwen2_5_vl.FAMILY,
    "qwen3_vl": qwen3_vl.FAMILY,
    "qwen3_vl_moe": qwen3_vl_moe.FAMILY,
    "qwen3_5": qwen3_5.FAMILY,
    "qwen3_5_moe": qwen3_5_moe.FAMILY,
    "internvl": internvl.FAMILY,
    "smolvlm": smolvlm.FAMILY,
    "video_llama_3": video_llama_3.FAMILY,
    "gemma3": gemma3.FAMILY,
    "gemma4": gemma4.FAMILY,
    "glm4v": glm4v.FAMILY,
    "glm46v": glm46v.FAMILY,
}

# short name → published model, of every family.
PUBLISHED: dict[str, Published] = {model.name: model for family in FAMILIES.values() for model in family.published}

_THINKER = "Its LLM stands inside a part that also hears, beside one that speaks, and AIM does not yet find its way there."
_THINKER_ALONE = "Its positions count time in fractions, and transformers before 5.21 builds it in another shape; AIM takes neither yet."
_FURTHER_FEATURES = (
    "Its visual tokens start empty, and layers far up in its LLM add their features under names of its own, "
    "which AIM cannot yet reduce along with the tokens."
)
_CROSS_ATTENTION = "Its LLM looks at pictures through cross-attention layers, so its prompt holds no visual tokens to reduce."
_PREFIX = "The tokens of its prompt attend to one another in both directions, by a mask that AIM cannot yet reduce."
_PER_LAYER_INPUTS = "Each of its LLM layers takes a further input for every token of the prompt, which AIM cannot yet reduce."
_CONVOLUTIONS = (
    "Most of its LLM layers are short convolutions over neighbouring tokens, and AIM cannot yet leave out tokens from what they keep "
    "for decoding."
)

_INDEXED = (
    "Its LLM carries several streams of hidden states, and an index of its own chooses which keys a token attends to; "
    "AIM cannot reduce either."
)

_COMPRESSED = "Its LLM attends to keys that it makes of compressed ones (MLA), and it is too large for AIM to have been tried on it."

_TIMM = "Its vision tower comes from the package timm, which AIM does not install and has not been tried with."
_POOLED_BY_ATTENTION = "Its tower makes each token by attention over the token's patches, and AIM cannot plan or watch such a tower yet."
_NARROWING = "Its vision tower goes on with a quarter of the patches from a layer inside it, and AIM cannot plan or watch such a tower yet."
_NORM_BEHIND = "The layers of its LLM have no norm before their attention, and AIM cannot look ahead into such a layer yet."
_DENSE_FIRST = "Its LLM has experts in all layers but the first ones, and AIM cannot plan such an LLM yet."

# model type → why it cannot be reduced, or not yet (read off its code in transformers 5.23).
REFUSED: dict[str, str] = {
    "qwen3_omni_moe": _THINKER,
    "qwen3_omni_moe_thinker": _THINKER_ALONE,
    "granite4_vision": _FURTHER_FEATURES,
    "perception_lm": _TIMM,
    "molmo2": _POOLED_BY_ATTENTION,
    "minicpmv4_6": _NARROWING,
    "exaone4_5": _NORM_BEHIND,
    "glm4v_moe": _DENSE_FIRST,
    "mllama": _CROSS_ATTENTION,
    "idefics": _CROSS_ATTENTION,
    "paligemma": _PREFIX,
    "gemma3n": _PER_LAYER_INPUTS,
    "lfm2_vl": _CONVOLUTIONS,
    "lfm3_vl": _CONVOLUTIONS,
    "qwen4_exp": _INDEXED,
    "kimi_k25": _COMPRESSED,
}

__all__ = ["FAMILIES", "PUBLISHED", "REFUSED", "Encoded", "Family", "Picture", "Published", "Reader", "family_of", "find_published"]


def family_of(config) -> Family:
    """The entry for a model's config.

    Raises:
        Refusal: the family is not supported, or not this model of it, with the reason where there is one.
    """
    kind = config.model_type
    if kind not in FAMILIES:
        reason = f" {REFUSED[kind]}" if kind in REFUSED else ""
        known = ", ".join(sorted(FAMILIES))
        raise Refusal(f"The model is of type {kind!r}; supported are: {known}.{reason} Load a checkpoint of one of these.")
    family = FAMILIES[kind]
    if reason := family.refuses(config):
        taken = ", ".join(published.hub_ids[0] for published in family.published)
        raise Refusal(f"The model is a {family.title} that is not supported. {reason} Load another of the family, such as {taken}.")
    return family


def find_published(model: str) -> Published | None:
    """The published model of a short name or Hub id, or None; see `Published.is_named`."""
    return next((published for published in PUBLISHED.values() if published.is_named(model)), None)
