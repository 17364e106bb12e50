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

# model type → why it cannot work.
REFUSED: dict[str, str] = {}

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
