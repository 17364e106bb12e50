"""The model families, one file each, and the tables that name them."""

from __future__ import annotations

from aim.families import (
    exaone4_5,
    gemma3,
    gemma4,
    glm4v,
    glm4v_moe,
    glm46v,
    granite4_vision,
    internvl,
    llava,
    llava_next_video,
    llava_onevision,
    minicpmv4_6,
    molmo2,
    perception_lm,
    qwen2_5_omni,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_omni_moe,
    qwen3_vl,
    qwen3_vl_moe,
    smolvlm,
    step3p7,
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
    "glm4v_moe": glm4v_moe.FAMILY,
    "glm46v": glm46v.FAMILY,
    "granite4_vision": granite4_vision.FAMILY,
}
# Those that transformers has not built in the shape that AIM reads before the release named here.
_SINCE = {
    "exaone4_5": (exaone4_5, "5.20"),
    "minicpmv4_6": (minicpmv4_6, "5.20"),
    "molmo2": (molmo2, "5.20"),
    "perception_lm": (perception_lm, "5.20"),
    "qwen2_5_omni_thinker": (qwen2_5_omni, "5.21"),
    "qwen3_omni_moe_thinker": (qwen3_omni_moe, "5.21"),
    "step3p7": (step3p7, "5.23"),
}
FAMILIES |= {kind: module.FAMILY for kind, (module, _) in _SINCE.items() if module.IS_UNIFORM}

# short name → published model, of every family.
PUBLISHED: dict[str, Published] = {model.name: model for family in FAMILIES.values() for model in family.published}

_BESIDE_A_TALKER = (
    "It is a thinker beside a part that speaks, and has no forward as a whole. Only the thinker can be reduced, which `aim.load` takes out "
    "of the checkpoint."
)
_TOO_OLD = "AIM reads it in the shape that transformers gives it since release {}: `pip install -U transformers`."
_CROSS_ATTENTION = "Its LLM looks at pictures through cross-attention layers, so its prompt holds no visual tokens to reduce."
_ROWS_APART = (
    "The rows of a picture stand apart in its prompt, with a token of another kind behind each, and AIM reads a picture as one run of "
    "placeholders."
)
_PREFIX = "The tokens of its prompt attend to one another in both directions, by a mask that AIM cannot yet reduce."
_PER_LAYER_INPUTS = "Each of its LLM layers takes a further input for every token of the prompt, which AIM cannot yet reduce."
_CONVOLUTIONS = (
    "Most of its LLM layers are short convolutions over neighbouring tokens, and AIM does not know yet what such layers cost, nor how to "
    "tell them which tokens are padding."
)

_INDEXED = (
    "Its LLM carries several streams of hidden states, and an index of its own chooses which keys a token attends to; "
    "AIM cannot reduce either."
)

_COMPRESSED = "Its LLM attends to keys that it makes of compressed ones (MLA), and it is too large for AIM to have been tried on it."

# model type → why it cannot be reduced, or not yet (read off its code in transformers 5.23).
REFUSED: dict[str, str] = {
    "qwen2_5_omni": _BESIDE_A_TALKER,
    "qwen3_omni_moe": _BESIDE_A_TALKER,
    "mistral3": _ROWS_APART,
    "mllama": _CROSS_ATTENTION,
    "idefics": _CROSS_ATTENTION,
    "paligemma": _PREFIX,
    "gemma3n": _PER_LAYER_INPUTS,
    "lfm2_vl": _CONVOLUTIONS,
    "lfm3_vl": _CONVOLUTIONS,
    "qwen4_exp": _INDEXED,
    "kimi_k25": _COMPRESSED,
}
REFUSED |= {kind: _TOO_OLD.format(release) for kind, (module, release) in _SINCE.items() if not module.IS_UNIFORM}

__all__ = ["FAMILIES", "PUBLISHED", "REFUSED", "Encoded", "Family", "Picture", "Published", "Reader", "family_of", "find_published"]
__all__ += ["reduced_part"]


# What is suggested in place of a model that is refused: a small one that takes pictures and clips, and one of the most used.
_TWO = f"{qwen3_5.FAMILY.published[0].hub_ids[0]} or {qwen3_vl.FAMILY.published[0].hub_ids[0]}"


def family_of(config) -> Family:
    """The entry for a model's config.

    Raises:
        Refusal: the family is not supported, or not this model of it, with the reason where there is one.
    """
    kind = config.model_type
    if kind not in FAMILIES:
        reason = f" {REFUSED[kind]}" if kind in REFUSED else ""
        known = ", ".join(sorted(FAMILIES))
        raise Refusal(f"The model is of type {kind!r}; supported are: {known}.{reason} Load a checkpoint of one of these, such as {_TWO}.")
    family = FAMILIES[kind]
    if reason := family.refuses(config):
        taken = " or ".join([published.hub_ids[0] for published in family.published][:2])
        others = "" if " or " in taken else f", or one of another family, such as {_TWO}"
        raise Refusal(f"The model is a {family.title} that is not supported. {reason} Load another of the family, such as {taken}{others}.")
    return family.by_config(family, config)


def reduced_part(config):
    """The config of the part of a checkpoint that is loaded and reduced: an Omni's thinker, and of any other model all."""
    return getattr(config, "thinker_config", config)


def find_published(model: str) -> Published | None:
    """The published model of a short name or Hub id, or None; see `Published.is_named`."""
    return next((published for published in PUBLISHED.values() if published.is_named(model)), None)
