"""Checkpoints in the format that their authors published first, which needs code of its own, and where they are in transformers' format."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from aim.families import FAMILIES, PUBLISHED, Published

# Model type in the first format → the family of such models in transformers' format.
ORIGINAL: dict[str, str] = {
    "llava_qwen": "llava_onevision",
    "llava_llama": "llava",
    "llava": "llava",
    "llava_mistral": "llava",
    "internvl_chat": "internvl",
}
# Only the first format of LLaVA names its vision tower so. Its model type may be "llava", as in transformers.
_LLAVA = "mm_vision_tower"
_QUANTISED = re.compile(r"[-_.](awq|gptq|gguf|bnb|fp8|nf4|w\d+a\d+|quantized|int\d+|\d+-?bits?|q\d\w*).*$", re.IGNORECASE)


def is_original(config: dict) -> bool:
    """Whether a config.json is in the first format of a family."""
    kind = str(config.get("model_type"))
    return _LLAVA in config or (kind in ORIGINAL and kind != "llava")


def where_to_find(name: str, config: dict) -> str:
    """A sentence that names a repository in transformers' format: that of the same checkpoint, found by its name, or one of the same size.

    Args:
        name: the checkpoint's Hub id, or the last part of its folder.
        config: its config.json, in the first format.
    """
    by_name = {_key(hub_id): hub_id for model in PUBLISHED.values() for hub_id in model.hub_ids if hub_id.endswith("-hf")}
    if _key(name) in by_name:
        return f'Load "{by_name[_key(name)]}", which is the same model in that format.'
    published = _of_its_size(config) or _in_its_name(name)
    if published is not None:
        return f'Load a checkpoint in that format, such as "{published.hub_ids[0]}" of the same size.'
    return f'Repositories in that format end in "-hf": look for "{PurePosixPath(name).name}-hf" on the Hub.'


def unquantised(name: str) -> str:
    """The published repository that a quantised one was made from, in quotes; or words for it where the name does not tell."""
    plain = _QUANTISED.sub("", name)
    for model in PUBLISHED.values():
        for hub_id in model.hub_ids:
            if _key(plain) == _key(hub_id):
                return f'"{hub_id}"'
    return "the repository that it was made from"


def _key(name: str) -> str:
    """What two names of one model have in common. It has no owner and no "-hf", and its versions have no "v"."""
    return re.sub(r"(?<=-)v(?=\d)", "", PurePosixPath(name).name.lower().removesuffix("-hf"))


def _of_its_size(config: dict) -> Published | None:
    """A published model of the family whose LLM has as many layers and is as wide; None where there is none."""
    llm = config.get("llm_config")
    llm = llm if isinstance(llm, dict) else config
    family = FAMILIES.get(ORIGINAL.get(str(config.get("model_type")), ""))
    for model in family.published if family else ():
        text = model.parts["text_config"]
        if all(llm.get(field) == text[field] for field in ("hidden_size", "num_hidden_layers")):
            return model
    return None


def _in_its_name(name: str) -> Published | None:
    """The published model whose short name is part of this name; None where there is none."""
    return next((model for model in PUBLISHED.values() if model.name in _key(name)), None)
